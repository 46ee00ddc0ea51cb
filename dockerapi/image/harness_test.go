package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/image"
	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/system"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// api is the endpoints over a containerd in this process.
type api struct {
	t      *testing.T
	host   *exporttest.Host
	server *httptest.Server
	hub    *event.Hub
}

func newAPI(t *testing.T) *api {
	t.Helper()
	h := exporttest.NewHost(t)
	registries, err := registry.New(registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registries.Close)
	a := &api{t: t, host: h, hub: event.NewHub(nil)}
	store := imagestore.New(imagestore.Config{
		Namespace: exporttest.Namespace, Content: h.Content, Images: h.Images, Leases: h.Leases, Snapshotter: h.Snapshotter,
		SnapshotterName: exporttest.SnapshotterName, Applier: h.Applier, Registries: registries, Events: a.hub, Plain: 16 << 20,
		Collect: func(context.Context) error { h.Collect(); return nil },
	})
	images := image.New(store)
	mux := route.NewMux("test")
	images.Register(mux)
	system.New(system.Config{Events: a.hub, SignIn: store.SignIn, ImagesSize: store.Size, Refs: h.Refs,
		Images: func(ctx context.Context, v route.Version) ([]*image.Summary, error) {
			return images.Summaries(ctx, imagestore.Filter{}, true, v)
		},
	}).Register(mux)
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

// answer is what a request got.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// do sends a request; values are the query's keys and values.
func (a *api) do(method, path string, body io.Reader, values ...string) *answer {
	a.t.Helper()
	return a.with(nil, method, path, body, values...)
}

func (a *api) with(header http.Header, method, path string, body io.Reader, values ...string) *answer {
	a.t.Helper()
	q := url.Values{}
	for i := 0; i < len(values); i += 2 {
		q.Add(values[i], values[i+1])
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.server.URL+path+"?"+q.Encode(), body)
	if err != nil {
		a.t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := a.server.Client().Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return &answer{a.t, resp.StatusCode, resp.Header, data}
}

// want checks the status and that the body has all texts.
func (r *answer) want(status int, texts ...string) *answer {
	r.t.Helper()
	if r.status != status {
		r.t.Errorf("status %d, want %d: %s", r.status, status, r.body)
	}
	for _, text := range texts {
		if !strings.Contains(string(r.body), text) {
			r.t.Errorf("answer has no %q: %s", text, r.body)
		}
	}
	if status >= 400 && r.header.Get("Content-Type") != "application/json" {
		r.t.Errorf("an error is of type %q", r.header.Get("Content-Type"))
	}
	return r
}

// lacks checks that the body has none of the texts.
func (r *answer) lacks(texts ...string) *answer {
	r.t.Helper()
	for _, text := range texts {
		if strings.Contains(string(r.body), text) {
			r.t.Errorf("answer has %q: %s", text, r.body)
		}
	}
	return r
}

// into decodes the answer.
func into[T any](r *answer) (v T) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, &v); err != nil {
		r.t.Fatalf("decode %s: %v", r.body, err)
	}
	return v
}

// failure is the error at the end of a stream.
func (r *answer) failure() string {
	r.t.Helper()
	lines := strings.Split(strings.TrimSpace(string(r.body)), "\r\n")
	var m struct{ ErrorDetail struct{ Message string } }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
		r.t.Fatalf("decode %s: %v", r.body, err)
	}
	return m.ErrorDetail.Message
}

// fails checks that the stream ends in an error with a text.
func (r *answer) fails(text string) {
	r.t.Helper()
	if got := r.failure(); got == "" || !strings.Contains(got, text) {
		r.t.Errorf("the stream ends in %q, not in an error with %q", got, text)
	}
}

// file is an entry of a tar.
type file struct {
	name, body string
	kind       byte
	link       string
}

// packed is a tar of entries.
func packed(t *testing.T, files ...file) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.body)), Linkname: f.link}
		if f.kind != 0 {
			h.Typeflag = f.kind
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// imported makes an image of a tar with one file.
func (a *api) imported(name, text string, changes ...string) string {
	a.t.Helper()
	values := []string{"fromSrc", "-"}
	if name != "" {
		repo, tag, _ := strings.Cut(name, ":")
		values = append(values, "repo", repo, "tag", tag)
	}
	for _, c := range changes {
		values = append(values, "changes", c)
	}
	r := a.do(http.MethodPost, "/images/create", packed(a.t, file{name: "f", body: text}), values...).want(http.StatusOK)
	return into[route.Message](r).Status
}

// tags are all names of the store as lists show them.
func (a *api) tags(values ...string) []string {
	a.t.Helper()
	out := []string{}
	for _, im := range into[[]image.Summary](a.do(http.MethodGet, "/images/json", nil, values...).want(http.StatusOK)) {
		if len(im.RepoTags) == 0 {
			out = append(out, im.ID)
		}
		out = append(out, im.RepoTags...)
	}
	return out
}

// nothing checks that nothing is left in the stores.
func (a *api) nothing() {
	a.t.Helper()
	if left := a.host.Collect(); len(left) > 0 {
		a.t.Errorf("blobs are left: %v", left)
	}
	ctx := a.host.Context()
	if list, err := a.host.Images.List(ctx); err != nil || len(list) > 0 {
		a.t.Errorf("images are left: %v, %v", list, err)
	}
	if list, err := a.host.Leases.List(ctx); err != nil || len(list) > 0 {
		a.t.Errorf("leases are left: %v, %v", list, err)
	}
	var open []content.Status
	open, err := a.host.Content.ListStatuses(ctx, "")
	if err != nil || len(open) > 0 {
		a.t.Errorf("transfers are left: %v, %v", open, err)
	}
}

// credentials is the header with them.
func credentials(t *testing.T, c route.Credentials) http.Header {
	t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"X-Registry-Auth": {base64.URLEncoding.EncodeToString(data)}}
}

// layered is an image with a layer for each text.
func layered(t *testing.T, p ocispecs.Platform, texts ...string) fixtures.Image {
	t.Helper()
	im := fixtures.Image{Platform: p, Config: ocispecs.ImageConfig{Labels: map[string]string{"arch": p.Architecture}}}
	for i, text := range texts {
		l, err := fixtures.NewLayer(func(add func(tar.Header, []byte) error) error {
			return add(tar.Header{Name: "f" + string(rune('0'+i)), Mode: 0o644, Typeflag: tar.TypeReg}, []byte(text))
		})
		if err != nil {
			t.Fatal(err)
		}
		im.Layers = append(im.Layers, l)
	}
	return im
}
