package image_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/test/fixtures"
)

var (
	amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = ocispecs.Platform{OS: "linux", Architecture: "arm64"}
)

// other is a platform that this machine does not run.
func other() ocispecs.Platform {
	if fixtures.Native().Architecture == "arm64" {
		return amd64
	}
	return arm64
}

// served starts a registry with an image for each tag.
func served(t *testing.T, tags ...string) *fixtures.Server {
	t.Helper()
	s := fixtures.Registry(t)
	for _, tag := range tags {
		if _, err := s.Push(t.Context(), "team/demo", tag, layered(t, fixtures.Native(), "base", tag)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// text shows an answer's platform as JSON.
func text(t *testing.T, p ocispecs.Platform) string {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPull(t *testing.T) {
	a, s := newAPI(t), served(t, "1", "2")
	name := s.Addr + "/team/demo"
	r := a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1").want(http.StatusOK,
		`"status":"Pulling from team/demo","id":"1"`, "Pulling fs layer", "Download complete", "Extracting", "Pull complete",
		"Status: Downloaded newer image for "+name+":1")
	if kind := r.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name+":1").want(http.StatusOK, "Status: Image is up to date for "+name+":1").
		lacks("Pulling fs layer")
	a.unpacked(name + ":1")
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name).want(http.StatusOK, "Already exists", name+":1", name+":2")
	got := a.tags()
	if slices.Sort(got); !slices.Equal(got, []string{name + ":1", name + ":2"}) {
		t.Errorf("pulled %v", got)
	}
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "nope").want(http.StatusNotFound, "manifest for "+name+":nope not found")
	a.do(http.MethodPost, "/images/create", nil, "fromImage", s.Addr+"/none").want(http.StatusNotFound)
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1", "platform", "linux/s390x").want(http.StatusNotFound,
		"no matching manifest for linux/s390x in the manifest list entries")
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1", "platform", "a/b/c/d").want(http.StatusBadRequest)
	a.do(http.MethodPost, "/images/create", nil, "fromImage", "scratch", "tag", "1").want(http.StatusForbidden, "'scratch' is a reserved name")
	a.do(http.MethodPost, "/images/create", nil, "fromImage", "::").want(http.StatusBadRequest)
	a.do(http.MethodPost, "/images/create", nil).want(http.StatusBadRequest, "neither fromImage nor fromSrc")
	for _, tag := range []string{"1", "2"} {
		a.do(http.MethodDelete, "/images/"+name+":"+tag, nil).want(http.StatusOK)
	}
	a.nothing()
}

// unpacked checks that an image's snapshots are there and survive a collection.
func (a *api) unpacked(name string) {
	a.t.Helper()
	a.host.Collect()
	type inspection struct{ RootFS struct{ Layers []string } }
	in := into[inspection](a.do(http.MethodGet, "/images/"+name+"/json", nil).want(http.StatusOK))
	chain := identity.ChainID(digests(in.RootFS.Layers))
	if _, err := a.host.Snapshotter.Stat(a.host.Context(), chain.String()); err != nil {
		a.t.Errorf("snapshot of %s: %v", name, err)
	}
}

func TestPullPlatformAndDigest(t *testing.T) {
	a, s := newAPI(t), fixtures.Registry(t)
	_, err := s.PushIndex(t.Context(), "team/multi", "1", layered(t, other(), "theirs"), layered(t, fixtures.Native(), "ours"))
	if err != nil {
		t.Fatal(err)
	}
	name := s.Addr + "/team/multi"
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1").want(http.StatusOK)
	a.do(http.MethodGet, "/images/"+name+":1/json", nil).want(http.StatusOK, `"Architecture":"`+fixtures.Native().Architecture+`"`)
	a.do(http.MethodGet, "/images/"+name+":1/json", nil, "manifests", "1").want(http.StatusOK, `"Available":false`, `"Available":true`)
	a.do(http.MethodGet, "/images/"+name+":1/json", nil, "platform", text(t, other())).want(http.StatusNotFound)
	// The other one, and both are there.
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1", "platform", "linux/"+other().Architecture).want(http.StatusOK)
	a.host.Collect()
	a.do(http.MethodGet, "/images/"+name+":1/json", nil, "manifests", "1").want(http.StatusOK).lacks(`"Available":false`)
	a.do(http.MethodGet, "/v1.51/images/"+name+":1/get", nil, "platform", text(t, amd64), "platform", text(t, arm64)).
		want(http.StatusBadRequest, "multiple platform parameters")
	both := a.do(http.MethodGet, "/images/"+name+":1/get", nil, "platform", text(t, amd64), "platform", text(t, arm64)).want(http.StatusOK)
	a.do(http.MethodPost, "/images/load", bytes.NewReader(both.body), "platform", text(t, amd64), "platform", text(t, arm64)).want(http.StatusOK, "Loaded image")
	a.do(http.MethodPost, "/images/load", bytes.NewReader(both.body), "platform", text(t, amd64), "platform", `{"os":"linux","architecture":"s390x"}`).
		want(http.StatusOK).fails("requested platform (linux/s390x) not found")
	type inspection struct{ RepoDigests []string }
	in := into[inspection](a.do(http.MethodGet, "/images/"+name+":1/json", nil))
	a.do(http.MethodDelete, "/images/"+name+":1", nil).want(http.StatusOK)
	_, d, _ := strings.Cut(in.RepoDigests[0], "@")
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", d).want(http.StatusOK, "Digest: "+d)
	a.do(http.MethodGet, "/images/"+in.RepoDigests[0]+"/json", nil).want(http.StatusOK, `"RepoTags":[]`)
	a.do(http.MethodGet, "/distribution/"+name+":1/json", nil).want(http.StatusOK, d, amd64.Architecture, arm64.Architecture)
	a.do(http.MethodGet, "/distribution/"+name+":none/json", nil).want(http.StatusNotFound)
	a.do(http.MethodGet, "/distribution/"+d+"/json", nil).want(http.StatusBadRequest, "full image ID")
}

func TestRemovePlatform(t *testing.T) {
	a, s := newAPI(t), fixtures.Registry(t)
	_, err := s.PushIndex(t.Context(), "team/multi", "1", layered(t, other(), "theirs"), layered(t, fixtures.Native(), "ours"))
	if err != nil {
		t.Fatal(err)
	}
	name := s.Addr + "/team/multi"
	for _, p := range []ocispecs.Platform{other(), fixtures.Native()} {
		a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1", "platform", "linux/"+p.Architecture).want(http.StatusOK)
	}
	a.do(http.MethodDelete, "/images/"+name+":1", nil, "force", "1", "platforms", text(t, other())).want(http.StatusOK, "Deleted")
	a.do(http.MethodGet, "/images/"+name+":1/json", nil, "platform", text(t, other())).want(http.StatusNotFound)
	a.do(http.MethodGet, "/images/"+name+":1/json", nil, "platform", text(t, fixtures.Native())).want(http.StatusOK)
	// What is here of it is pushed, under a name of its own.
	a.do(http.MethodPost, "/images/"+name+":1/tag", nil, "repo", s.Addr+"/team/part", "tag", "1").want(http.StatusCreated)
	a.do(http.MethodPost, "/images/"+s.Addr+"/team/part/push", nil, "tag", "1").want(http.StatusOK, "manifestPushedInsteadOfIndex")
	a.do(http.MethodGet, "/distribution/"+s.Addr+"/team/part:1/json", nil).want(http.StatusOK, fixtures.Native().Architecture).lacks(other().Architecture)
}

func TestPush(t *testing.T) {
	a, s := newAPI(t), fixtures.Registry(t)
	a.imported("demo:1", "one")
	name := s.Addr + "/team/pushed"
	for _, tag := range []string{"1", "2"} {
		a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", name, "tag", tag).want(http.StatusCreated)
	}
	a.do(http.MethodPost, "/images/"+name+"/push", nil, "tag", "1").want(http.StatusOK,
		"The push refers to repository ["+name+"]", `"Preparing"`, `"Pushed"`, "1: digest: sha256:")
	a.do(http.MethodPost, "/images/"+name+"/push", nil).want(http.StatusOK, "Layer already exists", "2: digest: sha256:")
	a.do(http.MethodGet, "/distribution/"+name+":2/json", nil).want(http.StatusOK, `"Platforms":[{"architecture"`)
	// Another repository takes the layer over.
	a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", s.Addr+"/team/second", "tag", "1").want(http.StatusCreated)
	a.do(http.MethodPost, "/images/"+s.Addr+"/team/second/push", nil, "tag", "1").want(http.StatusOK, "Mounted from team/pushed")
	for _, tc := range []struct{ name, tag, text string }{
		{name, "none", "tag does not exist: " + name + ":none"},
		{s.Addr + "/none", "", "An image does not exist locally with the tag: " + s.Addr + "/none"},
	} {
		r := a.do(http.MethodPost, "/images/"+tc.name+"/push", nil, "tag", tc.tag).want(http.StatusOK)
		if got := r.failure(); got != tc.text {
			t.Errorf("push failed with %q, want %q", got, tc.text)
		}
	}
	a.do(http.MethodPost, "/images/"+name+"/push", nil, "tag", "1", "platform", "{").want(http.StatusBadRequest)
}

func TestCredentials(t *testing.T) {
	a, s := newAPI(t), served(t, "1")
	front := guarded(t, s.Addr)
	name := front + "/team/demo"
	a.do(http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1").want(http.StatusNotFound,
		"pull access denied for "+name+", repository does not exist or may require 'docker login'")
	right := route.Credentials{Username: "u", Password: "secret", ServerAddress: front}
	wrong := route.Credentials{Username: "u", Password: "no", ServerAddress: front}
	a.with(credentials(t, wrong), http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1").want(http.StatusNotFound).lacks("secret")
	a.with(credentials(t, right), http.MethodPost, "/images/create", nil, "fromImage", name, "tag", "1").want(http.StatusOK)
	a.do(http.MethodPost, "/images/"+name+"/push", nil, "tag", "1").want(http.StatusOK, "push access denied")
	a.with(credentials(t, route.Credentials{Auth: "dTpzZWNyZXQ="}), http.MethodPost, "/images/"+name+"/push", nil, "tag", "1").want(http.StatusOK, "1: digest")
	a.do(http.MethodGet, "/distribution/"+name+":1/json", nil).want(http.StatusForbidden)
	a.with(credentials(t, right), http.MethodGet, "/distribution/"+name+":1/json", nil).want(http.StatusOK)
	for c, status := range map[route.Credentials]int{right: http.StatusOK, wrong: http.StatusUnauthorized, {ServerAddress: "a b"}: http.StatusBadRequest} {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		a.with(http.Header{"Content-Type": {"application/json"}}, http.MethodPost, "/auth", bytes.NewReader(data)).want(status).lacks("secret")
	}
}

// guarded is a registry that wants credentials, before one that does not.
func guarded(t *testing.T, addr string) string {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "u" || pass != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		forward(w, r, addr)
	}))
	t.Cleanup(front.Close)
	return strings.TrimPrefix(front.URL, "http://")
}

// forward has another server answer.
func forward(w http.ResponseWriter, r *http.Request, addr string) {
	req := r.Clone(r.Context())
	req.RequestURI, req.URL.Scheme, req.URL.Host = "", "http", addr
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	// Whoever reads it sees that it is short.
	_, _ = io.Copy(w, resp.Body)
}

func TestSaveAndLoad(t *testing.T) {
	a := newAPI(t)
	id := a.imported("demo:1", "one")
	a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", "demo", "tag", "2").want(http.StatusCreated)
	named := a.do(http.MethodGet, "/images/demo/get", nil).want(http.StatusOK, "manifest.json", "oci-layout", "index.json")
	if kind := named.header.Get("Content-Type"); kind != "application/x-tar" {
		t.Errorf("content type %q", kind)
	}
	byID := a.do(http.MethodGet, "/images/get", nil, "names", id[7:19]).want(http.StatusOK)
	a.do(http.MethodGet, "/images/get", nil, "names", "demo:1", "names", "nope").want(http.StatusNotFound, "No such image: nope:latest")
	a.do(http.MethodGet, "/images/get", nil).want(http.StatusBadRequest, "names")
	a.do(http.MethodGet, "/images/demo:1/get", nil, "platform", text(t, ocispecs.Platform{OS: "linux", Architecture: "s390x"})).want(http.StatusNotFound)
	a.do(http.MethodDelete, "/images/"+id, nil, "force", "1").want(http.StatusOK)
	a.nothing()

	a.do(http.MethodPost, "/images/load", bytes.NewReader(byID.body)).want(http.StatusOK, "Loaded image ID: "+id)
	if got := a.tags(); !slices.Equal(got, []string{id}) {
		t.Errorf("loaded %v", got)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(named.body); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	r := a.do(http.MethodPost, "/images/load", &z, "quiet", "1").want(http.StatusOK, `"stream":"Loaded image: demo:1\n"`, `Loaded image: demo:2\n`)
	if kind := r.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	a.unpacked("demo:1")
	if got := a.tags("filters", `{"dangling":["1"]}`); len(got) > 0 {
		t.Errorf("dangling %v", got)
	}
	a.do(http.MethodPost, "/images/load", bytes.NewReader(named.body), "platform", text(t, ocispecs.Platform{OS: "linux", Architecture: "s390x"})).
		want(http.StatusOK).fails("requested platform (linux/s390x) not found")
}

// TestTogether loads, pulls and prunes at the same time.
func TestTogether(t *testing.T) {
	a, s := newAPI(t), served(t, "1")
	a.imported("demo:1", "one")
	tar := a.do(http.MethodGet, "/images/demo:1/get", nil).want(http.StatusOK).body
	a.do(http.MethodDelete, "/images/demo:1", nil).want(http.StatusOK)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			a.do(http.MethodPost, "/images/load", bytes.NewReader(tar)).want(http.StatusOK, "Loaded image: demo:1")
		})
		all.Go(func() {
			a.do(http.MethodPost, "/images/create", nil, "fromImage", s.Addr+"/team/demo", "tag", "1").want(http.StatusOK, "Status: ")
		})
		all.Go(func() {
			if r := a.do(http.MethodPost, "/images/prune", nil); r.status != http.StatusOK && r.status != http.StatusConflict {
				t.Errorf("prune: %d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	a.unpacked("demo:1")
	a.unpacked(s.Addr + "/team/demo:1")
}

func TestImportFromURL(t *testing.T) {
	a := newAPI(t)
	tar := packed(t, file{name: "f", body: "x"}).Bytes()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a.tar" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		// A short answer shows at the other end.
		_, _ = w.Write(tar)
	}))
	defer web.Close()
	a.do(http.MethodPost, "/images/create", nil, "fromSrc", web.URL+"/a.tar", "repo", "imp", "tag", "1", "message", "why").
		want(http.StatusOK, "Downloading from "+web.URL, "sha256:")
	a.do(http.MethodGet, "/images/imp:1/history", nil).want(http.StatusOK, `"Comment":"why"`)
	a.do(http.MethodPost, "/images/create", nil, "fromSrc", web.URL+"/none").want(http.StatusBadRequest, "404")
	a.do(http.MethodPost, "/images/create", nil, "fromSrc", "file:///etc/passwd").want(http.StatusBadRequest, "want http or https")
	for _, change := range []string{"RUN x", "FROM y", "COPY a b", "NONSENSE", "EXPOSE 1-x", "LABEL"} {
		if r := a.do(http.MethodPost, "/images/create", bytes.NewReader(tar), "fromSrc", "-", "changes", change); r.status != http.StatusBadRequest {
			t.Errorf("%s: status %d", change, r.status)
		}
	}
	a.do(http.MethodDelete, "/images/imp:1", nil).want(http.StatusOK)
	a.nothing()
	a.do(http.MethodPost, "/images/create", packed(t, file{name: "f"}), "fromSrc", "-", "platform", "macos/arm64").
		want(http.StatusBadRequest, "operating system is not supported")
}

func TestClientGoesAway(t *testing.T) {
	s := served(t, "1")
	entered, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			forward(w, r, s.Addr)
			return
		}
		entered <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	t.Cleanup(slow.Close)
	a := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		a.server.URL+"/images/create?tag=1&fromImage="+strings.TrimPrefix(slow.URL, "http://")+"/team/demo", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := a.server.Client().Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	cancel()
	<-gone
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the transfer goes on without its client")
	}
	// Close waits for the request to end.
	a.server.Close()
	a.nothing()
}
