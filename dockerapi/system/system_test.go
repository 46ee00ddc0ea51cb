package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/image"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/system"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
)

// engine is the endpoints; the hub's events are of its own clock.
func engine(t *testing.T) (*httptest.Server, *event.Hub) {
	t.Helper()
	h := exporttest.NewHost(t)
	h.Ref(nil, exporttest.Files{"f": "x"})
	at := time.Unix(1700000000, 0)
	hub := event.NewHub(func() time.Time { at = at.Add(time.Second); return at })
	mux := route.NewMux("test")
	system.New(system.Config{
		Version: "v1", ID: "me", Snapshotter: "kiln", Runtime: "runc", Namespace: "test", Refs: h.Refs, Events: hub,
		Registries: map[string]system.Registry{"docker.io": {Mirrors: []string{"m.test"}}, "r.test": {Insecure: true}},
		Images: func(context.Context, route.Version) ([]*image.Summary, error) {
			return []*image.Summary{{ID: "sha256:x", RepoTags: []string{"a:1"}, Size: 7}}, nil
		},
		CountImages: func(context.Context) (int, error) { return 1, nil },
		ImagesSize:  func(context.Context) (int64, error) { return 7, nil },
		SignIn: func(_ context.Context, c route.Credentials) error {
			if c.Password != "right" {
				return errdefs.ErrUnauthenticated
			}
			return nil
		},
	}).Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s, hub
}

// ask sends a request.
func ask(t *testing.T, s *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestAnswers(t *testing.T) {
	s, _ := engine(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		texts              []string
	}{
		{"GET", "/_ping", "", 200, []string{"OK"}},
		{"HEAD", "/_ping", "", 200, nil},
		{"GET", "/version", "", 200, []string{`"Version":"v1"`, `"ApiVersion"`, `"MinAPIVersion":"1.24"`}},
		{"GET", "/info", "", 200, []string{`["driver-type","io.containerd.snapshotter.v1"]`, `"Images":1`, `"LocalNodeState":"inactive"`,
			`"ID":"me"`, `"Mirrors":["m.test"]`, `"Secure":false`, `"Namespaces":{"Containers":"test"`, `name=seccomp,profile=builtin`}},
		{"GET", "/v1.45/info", "", 200, nil},
		{"POST", "/auth", `{"username":"u","password":"right"}`, 200, []string{`{"Status":"Login Succeeded","IdentityToken":""}`}},
		{"POST", "/auth", `{"username":"u","password":"wrong"}`, 401, nil},
		{"POST", "/auth", `[`, 400, []string{"invalid JSON"}},
		{"GET", "/containers/json", "", 200, []string{"[]"}},
		{"GET", "/networks", "", 200, []string{"[]"}},
		{"GET", "/plugins", "", 200, []string{"[]"}},
		{"GET", "/volumes", "", 200, []string{`{"Volumes":[],"Warnings":null}`}},
		{"POST", "/containers/prune", "", 200, []string{"SpaceReclaimed"}},
		{"POST", "/volumes/prune", "", 200, []string{"SpaceReclaimed"}},
		{"POST", "/networks/prune", "", 200, []string{"NetworksDeleted"}},
		{"GET", "/containers/x/json", "", 404, []string{`{"message":"No such container: x"}`}},
		{"POST", "/containers/x/start", "", 404, []string{"No such container: x"}},
		{"PUT", "/containers/x/archive", "", 404, []string{"No such container: x"}},
		{"DELETE", "/containers/x", "", 404, []string{"No such container: x"}},
		{"GET", "/exec/x/json", "", 404, []string{"No such exec instance: x"}},
		{"GET", "/networks/x", "", 404, []string{"network x not found"}},
		{"GET", "/volumes/x", "", 404, []string{"get x: no such volume"}},
		{"GET", "/plugins/x/json", "", 404, []string{`plugin \"x\" not found`}},
		{"POST", "/containers/create", "{}", 501, []string{"this is a builder: it does not run containers"}},
		{"POST", "/networks/create", "{}", 501, []string{"this is a builder"}},
		{"POST", "/volumes/create", "{}", 501, []string{"this is a builder"}},
		{"POST", "/commit", "", 501, []string{"this is a builder"}},
		{"POST", "/swarm/init", "{}", 501, []string{"this is a builder"}},
		{"GET", "/swarm", "", 503, []string{"This node is not a swarm manager."}},
		{"GET", "/services", "", 503, []string{"This node is not a swarm manager."}},
		{"GET", "/nodes/x", "", 503, []string{"This node is not a swarm manager."}},
		{"GET", "/nowhere", "", 404, []string{"page not found"}},
		{"GET", "/v1.99/info", "", 400, []string{"client version 1.99 is too new"}},
		{"GET", "/v1.10/info", "", 400, []string{"client version 1.10 is too old"}},
		{"GET", "/v1.52/system/df?verbose=1", "", 200, []string{`"ImageUsage":{"ActiveCount":0,"TotalCount":1,"Reclaimable":7,"TotalSize":7,"Items":[`,
			`"ContainerUsage":{`, `"VolumeUsage":{`, `"BuildCacheUsage":{`}},
		{"GET", "/v1.52/system/df?type=build-cache", "", 200, []string{`{"BuildCacheUsage":{"ActiveCount":`}},
		{"GET", "/v1.51/system/df", "", 200, []string{`"LayersSize":7`, `"Containers":[]`, `"Volumes":[]`, `"BuildCache":[{"ID":`, "a:1"}},
		{"GET", "/v1.51/system/df?type=image", "", 200, []string{`"LayersSize":7`, `"Containers":null`, `"BuildCache":null`}},
		{"GET", "/v1.41/system/df?type=image", "", 200, []string{`"Containers":[]`, `"BuildCache":[{`}},
		{"GET", "/v1.51/system/df?type=x", "", 400, []string{"unknown object type: x"}},
	} {
		status, body := ask(t, s, tc.method, tc.path, tc.body)
		if status != tc.status {
			t.Errorf("%s %s: status %d, want %d: %s", tc.method, tc.path, status, tc.status, body)
		}
		for _, text := range tc.texts {
			if !strings.Contains(body, text) {
				t.Errorf("%s %s has no %s: %s", tc.method, tc.path, text, body)
			}
		}
	}
}

// told reads what is told until the stream ends.
func told(t *testing.T, s *httptest.Server, version string, values ...string) (out []map[string]any, status int) {
	t.Helper()
	q := url.Values{"since": {"1"}, "until": {"1700000099"}}
	for i := 0; i < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	status, body := ask(t, s, "GET", version+"/events?"+q.Encode(), "")
	for d := json.NewDecoder(strings.NewReader(body)); status == 200; {
		var m map[string]any
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		out = append(out, m)
	}
	return out, status
}

func TestEvents(t *testing.T) {
	s, hub := engine(t)
	hub.Publish(event.Event{Type: event.TypeImage, Action: "tag", ID: "sha256:x", Attributes: map[string]string{"name": "demo:1", "a": "b"}})
	hub.Publish(event.Event{Type: event.TypeImage, Action: "pull", ID: "r.test/y:2", Attributes: map[string]string{"name": "r.test/y"}})
	hub.Publish(event.Event{Type: event.TypeBuilder, Action: "prune", Attributes: map[string]string{"reclaimed": "5"}})
	for filter, want := range map[string]int{
		`{}`: 3, `{"type":["image"]}`: 2, `{"type":{"builder":true}}`: 1, `{"event":["prune","tag"]}`: 2, `{"image":["demo"]}`: 1,
		`{"image":["r.test/y"]}`: 1, `{"label":["a=b"]}`: 1, `{"label":["a=c"]}`: 0, `{"container":["x"]}`: 0, `{"scope":["swarm"]}`: 0,
	} {
		if got, _ := told(t, s, "/v1.51", "filters", filter); len(got) != want {
			t.Errorf("%s: %d events, want %d", filter, len(got), want)
		}
	}
	for since, want := range map[string]int{"1700000002": 2, "1700000004": 0, "2023-11-14T22:13:22Z": 2} {
		if got, _ := told(t, s, "/v1.51", "since", since); len(got) != want {
			t.Errorf("since %s: %d events, want %d", since, len(got), want)
		}
	}
	got, _ := told(t, s, "/v1.51", "until", "1700000001")
	if len(got) != 1 || got[0]["status"] != "tag" || got[0]["id"] != "sha256:x" || got[0]["time"] != float64(1700000001) || got[0]["scope"] != "local" {
		t.Errorf("told %v", got)
	}
	for _, values := range [][]string{{"since", "soon"}, {"until", "x"}, {"since", "9", "until", "8"}, {"filters", "["}, {"filters", `{"odd":["x"]}`}} {
		if _, status := told(t, s, "", values...); status != 400 {
			t.Errorf("%v: status %d", values, status)
		}
	}
}

func TestEventsAsTheyHappen(t *testing.T) {
	s, hub := engine(t)
	hub.Publish(event.Event{Type: event.TypeImage, Action: "old"})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json-seq")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/json-seq" {
		t.Errorf("content type %q", kind)
	}
	hub.Publish(event.Event{Type: event.TypeImage, Action: "new"})
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || line[0] != 0x1e || !strings.Contains(line, `"Action":"new"`) {
		t.Errorf("told %q, %v", line, err)
	}
	resp.Body.Close()
	for hub.Listeners() > 0 {
		time.Sleep(time.Millisecond)
	}
}
