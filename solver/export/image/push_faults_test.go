package image_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// upload reports whether a request carries the bytes of a blob.
func upload(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/")
}

// manifest reports whether a request carries a manifest.
func manifestPut(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
}

// faulty puts a registry behind a proxy. fault is asked first and reports
// whether it answered.
func faulty(t *testing.T, s *fixtures.Server, fault func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fault(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return strings.TrimPrefix(front.URL, "http://")
}

// cut ends a connection in the middle of what the client sends.
func cut(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	_, _ = io.CopyN(io.Discard, r.Body, 10)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	conn.Close()
}

// TestPushFaults pushes through registries that fail now and then, or always.
// What passes leaves the whole image, what does not leaves no name.
func TestPushFaults(t *testing.T) {
	status := func(code int, header ...string) func(*testing.T, http.ResponseWriter, *http.Request) {
		return func(_ *testing.T, w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"says the stand-in"}]}`)
		}
	}
	for name, tc := range map[string]struct {
		where func(*http.Request) bool
		times int32
		what  func(*testing.T, http.ResponseWriter, *http.Request)
		want  string // part of the error; empty for success
	}{
		"503 once":          {upload, 1, status(503), ""},
		"429 once":          {upload, 1, status(429, "Retry-After", "1"), ""},
		"cut once":          {upload, 1, cut, ""},
		"cut manifest once": {manifestPut, 1, cut, ""},
		"503 manifest once": {manifestPut, 1, status(503), ""},
		"403 always":        {upload, 1 << 30, status(403), "says the stand-in"},
		"wrong digest":      {upload, 1 << 30, status(400), "400"},
		"manifest refused":  {manifestPut, 1 << 30, status(403), "says the stand-in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fixtures.Registry(t)
			var left atomic.Int32
			left.Store(tc.times)
			addr := faulty(t, s, func(w http.ResponseWriter, r *http.Request) bool {
				if !tc.where(r) || left.Add(-1) < 0 {
					return false
				}
				tc.what(t, w, r)
				return true
			})
			h := exporttest.NewHost(t)
			src := &export.Source{Ref: h.Ref(h.Ref(nil, exporttest.Files{"a": strings.Repeat("1", 100_000)}), exporttest.Files{"b": "2"})}
			resp, err := run(t, pushing(t, h), src, &exporttest.Env{}, "name="+addr+"/app:1", "push=true")
			got := digestAt(t, s, "app", "1")
			switch {
			case tc.want == "" && (err != nil || got != resp.Descriptor.Digest.String()):
				t.Errorf("registry has %q, %v", got, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "failed to push "+addr+"/app:1: ")):
				t.Errorf("got %v", err)
			case tc.want != "" && got != "":
				t.Errorf("a name is left: %s", got)
			}
		})
	}
}

// TestAhead checks that layers of a file system that the image is going to be
// based on are at the registry before the image, and are sent once.
func TestAhead(t *testing.T) {
	s := fixtures.Registry(t)
	var mu sync.Mutex
	var seen []string
	addr := faulty(t, s, func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if upload(r) || manifestPut(r) {
			seen = append(seen, r.Method+" "+r.URL.Path[:strings.LastIndexByte(r.URL.Path, '/')])
		}
		return false
	})
	h := exporttest.NewHost(t)
	below := h.Ref(nil, exporttest.Files{"a": "1"})
	in, err := image.New(pushing(t, h)).Resolve(t.Context(), map[string]string{"name": addr + "/app:1", "push": "true"})
	if err != nil {
		t.Fatal(err)
	}
	env := &exporttest.Env{}
	if err := in.(export.Early).Ahead(t.Context(), below, env); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || digestAt(t, s, "app", "1") != "" {
		t.Fatalf("ahead of the image: %q", seen)
	}
	resp, err := in.Export(t.Context(), &export.Source{Ref: h.Ref(below, exporttest.Files{"b": "2"})}, export.Target{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Finalize(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One more layer, the configuration, the manifest.
	if len(seen) != 4 || digestAt(t, s, "app", "1") != resp.Descriptor.Digest.String() {
		t.Errorf("in all: %q", seen)
	}
}
