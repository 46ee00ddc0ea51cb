package interop_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// fault spoils one answer of a registry and reports whether it did; what it
// leaves alone is the registry's.
type fault func(w http.ResponseWriter, r *http.Request) bool

// faulty is the registry behind a front that does what a test wants.
type faulty struct {
	// addr is HOST:PORT.
	addr string

	mu    sync.Mutex
	fault fault
	seen  []string
}

// newFaulty starts the front, which lets everything pass.
func newFaulty(t *testing.T) *faulty {
	t.Helper()
	back, err := url.Parse(world.registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(back)
	f := &faulty{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen = append(f.seen, r.Method+" "+r.URL.Path)
		do := f.fault
		f.mu.Unlock()
		if do == nil || !do(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	f.addr = strings.TrimPrefix(srv.URL, "http://")
	return f
}

// set has the front do something else from now on, and forget what it saw.
func (f *faulty) set(do fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.seen = do, nil
}

// requests returns those since set whose method and path contain part.
func (f *faulty) requests(part string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, s := range f.seen {
		if strings.Contains(s, part) {
			out = append(out, s)
		}
	}
	return out
}

// getting picks requests that read blobs or manifests.
func getting(kind string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/"+kind+"/sha256:")
	}
}

// sending picks requests that carry bytes of blobs or manifests.
func sending(kind string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return (r.Method == http.MethodPut || r.Method == http.MethodPatch) && strings.Contains(r.URL.Path, "/"+kind+"/")
	}
}

// refusing is a fault that answers with a status the first times; -1 is always.
func refusing(where func(*http.Request) bool, times, status int, header ...string) fault {
	return limited(where, times, func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"says the front"}]}`)
	})
}

// limited is a fault at the first so many requests.
func limited(where func(*http.Request) bool, times int, do http.HandlerFunc) fault {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		hit := where(r) && times != 0
		if hit {
			times--
		}
		mu.Unlock()
		if hit {
			do(w, r)
		}
		return hit
	}
}

// cut ends the connection; of an answer the first half was sent by then.
func cut(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		body := spoiled(r, nil)
		w.Header().Set("Content-Length", "1000000000")
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
	}
	_, _ = io.CopyN(io.Discard, r.Body, 10)
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}

// spoiled is the real answer, changed.
func spoiled(r *http.Request, change func([]byte)) []byte {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, world.registry.URL+r.URL.Path, nil)
	if err != nil {
		return nil
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Range")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // Less is spoiled too.
	if change != nil && len(body) > 0 {
		change(body)
	}
	return body
}

// wrong answers with bytes that are not what the digest says.
func wrong(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write(spoiled(r, func(b []byte) { b[len(b)/2] ^= 1 }))
}

// slow answers in small pieces with pauses.
func slow(w http.ResponseWriter, r *http.Request) {
	body := spoiled(r, nil)
	for n := 0; n < len(body); n += len(body)/8 + 1 {
		_, _ = w.Write(body[n:min(len(body), n+len(body)/8+1)])
		_ = http.NewResponseController(w).Flush()
		time.Sleep(50 * time.Millisecond)
	}
}

// nothingHalf fails the test if the daemon has an unfinished transfer, a blob
// with wrong bytes, or the image.
func nothingHalf(t *testing.T, d *daemon.Daemon, image string) {
	t.Helper()
	if list := ctr(t, d, "images", "ls", "-q").ok(t).stdout; image != "" && strings.Contains(list, image) {
		t.Errorf("there is an image:\n%s", list)
	}
	content := filepath.Join(d.Root, "content")
	// What the end of a build cancelled may be on its way out.
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if left = glob(t, filepath.Join(content, "ingest", "*")); len(left) == 0 {
			break
		}
	}
	if len(left) != 0 {
		t.Errorf("there are unfinished transfers: %q", left)
	}
	for _, path := range glob(t, filepath.Join(content, "blobs", "sha256", "*")) {
		// What the collector takes away meanwhile is not wrong.
		if text, err := os.ReadFile(path); err == nil && digestOf(string(text)) != "sha256:"+filepath.Base(path) {
			t.Errorf("blob %s has the bytes of %s", path, digestOf(string(text)))
		}
	}
}

// glob returns the paths that match a pattern.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestPullFaults pulls a base image through all that can go wrong on the way.
// What passes gives the right files, what does not says which image it was, and
// leaves nothing.
func TestPullFaults(t *testing.T) {
	base(t, "busybox")
	d, f := fresh(t, daemon.Config{}), newFaulty(t)
	image := f.addr + "/busybox:latest"
	dir := folder(t, "Dockerfile", "FROM "+image+"\nRUN : faults; echo fine\n")
	anything := func(r *http.Request) bool { return r.URL.Path != "/v2/" }
	for _, tc := range []struct {
		name string
		do   fault
		want string // what the error says; empty for success
	}{
		{"401", refusing(anything, -1, 401, "WWW-Authenticate", `Basic realm="x"`), "pull access denied"},
		{"403", refusing(anything, -1, 403), "403 Forbidden"},
		{"403 blob", refusing(getting("blobs"), -1, 403), "403 Forbidden"},
		{"404 blob", refusing(getting("blobs"), -1, 404), "not found"},
		{"429 once", refusing(anything, 1, 429, "Retry-After", "1"), ""},
		{"429 blob once", refusing(getting("blobs"), 1, 429, "Retry-After", "1"), ""},
		{"503 once", refusing(anything, 1, 503), ""},
		{"500 blob once", refusing(getting("blobs"), 1, 500), ""},
		{"cut once", limited(getting("blobs"), 1, cut), ""},
		{"cut manifest once", limited(getting("manifests"), 1, cut), ""},
		{"wrong blob", limited(getting("blobs"), -1, wrong), "content is not what its digest says"},
		{"wrong manifest", limited(getting("manifests"), -1, wrong), "content is not what its digest says"},
		{"slow", limited(getting("blobs"), -1, slow), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			buildctl(t, d, "prune", "--all").ok(t)
			f.set(tc.do)
			out := dockerfile(t, d, dir)
			if tc.want == "" {
				if got := readSteps(out.ok(t).stderr).output("faults"); got != "fine\n" {
					t.Errorf("step printed %q", got)
				}
			} else {
				out.failed(t, tc.want, image)
			}
			if len(f.requests("/busybox/")) == 0 {
				t.Error("nobody asked the registry")
			}
			nothingHalf(t, d, "")
		})
	}
}

// TestPushFaults pushes an image and a cache through a registry that fails.
// The error names what could not be pushed, no name is left at the registry,
// and the same daemon can push when the registry is well again. A cache that
// may fail does not fail the build.
func TestPushFaults(t *testing.T) {
	d := watch(t)
	f := newFaulty(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN : push; echo faults > /file\n")
	image, cache := f.addr+"/faults/image:1", f.addr+"/faults/cache:1"
	export := "--export-cache=type=registry,mode=max,ref=" + cache
	push := "--output=type=image,push=true,store=false,name=" + image
	out := filepath.Join(t.TempDir(), "out")
	for _, tc := range []struct {
		name string
		do   fault
		want string
	}{
		{"401", refusing(sending("blobs"), -1, 401, "WWW-Authenticate", `Basic realm="x"`), "push access denied"},
		{"403", refusing(sending("blobs"), -1, 403), "says the front"},
		{"429 for long", refusing(sending("blobs"), -1, 429, "Retry-After", "3600"), "429 Too Many Requests"},
		{"wrong digest", refusing(sending("blobs"), -1, 400), "400 Bad Request"},
		// From here on the blobs are there.
		{"403 manifest", refusing(sending("manifests"), -1, 403), "says the front"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.set(tc.do)
			dockerfile(t, d, dir, push).failed(t, tc.want, "failed to push "+image)
			f.set(tc.do)
			dockerfile(t, d, dir, export).failed(t, tc.want, "faults/cache")
			f.set(tc.do)
			dockerfile(t, d, dir, export+",ignore-error=true", "--output=type=local,dest="+out).ok(t)
			if got := read(t, filepath.Join(out, "file")); got != "faults\n" {
				t.Errorf("file says %q", got)
			}
			f.set(nil)
			for _, name := range []string{image, cache} {
				if o := run(t, "", nil, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+name); o.err == nil {
					t.Errorf("there is a %s: %s", name, o.stdout)
				}
			}
			nothingHalf(t, d, image)
		})
	}
	for name, do := range map[string]fault{
		"429 once": refusing(sending("blobs"), 1, 429, "Retry-After", "1"), "502 once": refusing(sending("blobs"), 1, 502), "502 manifest once": refusing(sending("manifests"), 1, 502),
		"cut once": limited(sending("blobs"), 1, cut), "cut manifest once": limited(sending("manifests"), 1, cut),
	} {
		f.set(do)
		to := f.addr + "/faults/" + strings.ReplaceAll(name, " ", "-") + ":1"
		dockerfile(t, d, dir, "--output=type=image,push=true,store=false,name="+to).ok(t)
		if got := read(t, filepath.Join(unpackImage(t, "docker://"+to), "file")); got != "faults\n" {
			t.Errorf("%s: file says %q", name, got)
		}
	}
}

// TestCacheImportFaults: a cache that cannot be read, or whose layers cannot,
// makes a build slower and never fails it.
func TestCacheImportFaults(t *testing.T) {
	f := newFaulty(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN : imports; echo faults > /file; echo ran\nRUN cat /file\n")
	cache := f.addr + "/faults/imported:1"
	d := fresh(t, daemon.Config{})
	dockerfile(t, d, dir, "--export-cache=type=registry,mode=max,ref="+cache).ok(t)
	m := fetchManifest(t, cache)
	layer := func(r *http.Request) bool {
		return getting("blobs")(r) && !strings.HasSuffix(r.URL.Path, m.Config.Digest)
	}
	config := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, m.Config.Digest) }
	for _, tc := range []struct {
		name string
		do   fault
		said string
	}{
		{"403", refusing(func(r *http.Request) bool { return r.URL.Path != "/v2/" }, -1, 403), "importing cache manifest from " + cache},
		{"wrong config", limited(config, -1, wrong), "content is not what its digest says"},
		{"cut config", limited(config, 1, cut), ""},
		{"layers gone", refusing(layer, -1, 404), ""},
		{"wrong layers", limited(layer, -1, wrong), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := t.TempDir()
			buildctl(t, d, "prune", "--all").ok(t)
			f.set(tc.do)
			said := dockerfile(t, d, dir, "--import-cache=type=registry,ref="+cache, "--output=type=local,dest="+out).ok(t).stderr
			if got := read(t, filepath.Join(out, "file")); got != "faults\n" || !strings.Contains(said, tc.said) {
				t.Errorf("file says %q\n%s", got, said)
			}
			nothingHalf(t, d, "")
		})
	}
}
