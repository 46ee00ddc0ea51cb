package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/test/fixtures"
)

func TestRead(t *testing.T) {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	c := newClient(t, Config{})
	b, err := pull(t.Context(), repository(t, c, s.Addr+"/"+name))
	if err != nil || !bytes.Contains(b, []byte(`"layers"`)) {
		t.Fatalf("manifest %s, error %v", b, err)
	}
	d := digest.FromBytes(b)
	if desc, err := repository(t, c, s.Addr+"/lib/small@"+d.String()).Resolve(t.Context()); err != nil || desc.Digest != d {
		t.Errorf("by digest: %v, %v", desc, err)
	}

	_, err = pull(t.Context(), repository(t, c, s.Addr+"/lib/none:latest"))
	if !errdefs.IsNotFound(err) || err.Error() != s.Addr+"/lib/none:latest: not found" {
		t.Errorf("missing image: %v", err)
	}
	_, err = pull(t.Context(), repository(t, c, "127.0.0.1:1/lib/none:latest"))
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "connection refused") || !Unreachable(err) {
		t.Errorf("unreachable: %v", err)
	}
	if _, err := c.Repository("no host", Options{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad reference: %v", err)
	}
}

func TestHosts(t *testing.T) {
	yes, no := true, false
	c := newClient(t, Config{Hosts: map[string]HostConfig{
		"docker.io":     {Mirrors: []string{"https://mirror.example:5000/cache/hub/", "plain.example"}},
		"plain.example": {PlainHTTP: &yes},
		"[::1]:5000":    {PlainHTTP: &no},
		"odd.example":   {PlainHTTP: &yes, Insecure: true},
	}})
	for ref, want := range map[string]string{
		"docker.io/library/x": "https://mirror.example:5000/v2/cache/hub http://plain.example/v2 https://registry-1.docker.io/v2",
		"127.3.2.1:5000/x":    "http://127.3.2.1:5000/v2",
		"localhost/x":         "http://localhost/v2",
		"localhost.example/x": "https://localhost.example/v2",
		"[::1]/x":             "http://[::1]/v2",
		"[::1]:5000/x":        "https://[::1]:5000/v2",
		"odd.example/x":       "https://odd.example/v2",
		"other.example:443/x": "https://other.example:443/v2",
	} {
		var got []string
		for _, h := range repository(t, c, ref).hosts {
			got = append(got, h.scheme+"://"+h.addr+h.path)
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: %s, want %s", ref, g, want)
		}
	}
	for _, bad := range []string{"", "/path", "a b", "user:pw@host", "host?x"} {
		if _, err := New(Config{Hosts: map[string]HostConfig{"h": {Mirrors: []string{bad}}}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("mirror %q: %v", bad, err)
		}
	}
}

func TestMirrors(t *testing.T) {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	var asked atomic.Int32
	mirror := newFront(t, s, nil, func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v2/cache/") {
			t.Errorf("mirror asked for %s", r.URL)
		}
		asked.Add(1)
		r.URL.Path = "/v2/" + strings.TrimPrefix(r.URL.Path, "/v2/cache/")
		return false
	})
	// The host itself does not exist: only the mirror can answer.
	c := newClient(t, Config{Hosts: map[string]HostConfig{"127.0.0.1:1": {Mirrors: []string{mirror.addr + "/cache"}}}})
	if _, err := pull(t.Context(), repository(t, c, "127.0.0.1:1/"+name)); err != nil || asked.Load() == 0 {
		t.Errorf("through mirror: %v after %d requests", err, asked.Load())
	}
	// The mirror does not exist.
	c = newClient(t, Config{Hosts: map[string]HostConfig{s.Addr: {Mirrors: []string{"127.0.0.1:1"}}}})
	r := repository(t, c, s.Addr+"/"+name)
	if _, err := pull(t.Context(), r); err != nil {
		t.Errorf("past a dead mirror: %v", err)
	}
	if !r.HasMirrors() || r.Origin().HasMirrors() {
		t.Error("mirrors of the origin")
	}
	_, err := pull(t.Context(), repository(t, c, s.Addr+"/lib/none:1"))
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "(tried 127.0.0.1:1, "+s.Addr+")") {
		t.Errorf("missing everywhere: %v", err)
	}
}

// TestMirroredTags lists the tags that mirrors know of.
func TestMirroredTags(t *testing.T) {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	var spaces atomic.Value
	mirror := newFront(t, s, nil, func(_ http.ResponseWriter, r *http.Request) bool {
		spaces.Store(r.URL.Query().Get("ns"))
		r.URL.Path = "/v2/" + strings.TrimPrefix(r.URL.Path, "/v2/cache/")
		return false
	})
	tags := func(host string, cfg HostConfig, name string) ([]string, error) {
		return repository(t, newClient(t, Config{Hosts: map[string]HostConfig{host: cfg}}), host+"/"+name).Tags(t.Context())
	}
	// The host itself does not exist.
	behind := HostConfig{Mirrors: []string{mirror.addr + "/cache"}}
	if got, err := tags("127.0.0.1:1", behind, name); err != nil || len(got) != 1 || spaces.Load() != "127.0.0.1:1" {
		t.Errorf("from a mirror, asked for %v: %v, %v", spaces.Load(), got, err)
	}
	if _, err := tags("127.0.0.1:1", behind, "lib/none:1"); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "(tried "+mirror.addr) {
		t.Errorf("a mirror has nothing: %v", err)
	}
	// The mirror does not exist, or not this name.
	for _, other := range []string{"127.0.0.1:1", mirror.addr + "/other"} {
		if got, err := tags(s.Addr, HostConfig{Mirrors: []string{other}}, name); err != nil || len(got) != 1 {
			t.Errorf("past %s: %v, %v", other, got, err)
		}
	}
}

func TestTLS(t *testing.T) {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	f := newFront(t, s, (*httptest.Server).StartTLS, nil)
	dir, no := t.TempDir(), false
	ca := filepath.Join(dir, "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	key := f.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(key.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pair := KeyPair{Key: filepath.Join(dir, "client.key"), Certificate: filepath.Join(dir, "client.cert")}
	if err := errors.Join(os.WriteFile(pair.Certificate, block, 0o600),
		os.WriteFile(pair.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)); err != nil {
		t.Fatal(err)
	}
	strict := newFront(t, s, func(h *httptest.Server) {
		h.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		h.StartTLS()
	}, nil)
	for _, tc := range []struct {
		name string
		at   *front
		cfg  HostConfig
		want string
	}{
		{"unknown authority", f, HostConfig{PlainHTTP: &no}, "certificate signed by unknown authority"},
		{"own authority", f, HostConfig{PlainHTTP: &no, CAs: []string{ca}}, ""},
		{"insecure", f, HostConfig{PlainHTTP: &no, Insecure: true}, ""},
		{"insecure local", f, HostConfig{Insecure: true}, ""},
		{"directory", strict, HostConfig{PlainHTTP: &no, TLSDirs: []string{dir, "/nowhere"}}, ""},
		{"key pair", strict, HostConfig{PlainHTTP: &no, CAs: []string{ca}, KeyPairs: []KeyPair{pair}}, ""},
		{"no key pair", strict, HostConfig{PlainHTTP: &no, CAs: []string{ca}}, "tls:"},
		{"no such file", f, HostConfig{CAs: []string{"/nowhere.pem"}}, "/nowhere.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClient(t, Config{Hosts: map[string]HostConfig{tc.at.addr: tc.cfg}})
			r, err := c.Repository(tc.at.addr+"/"+name, Options{})
			if err == nil {
				_, err = pull(t.Context(), r)
			}
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("insecure falls back to http", func(t *testing.T) {
		r, err := newClient(t, Config{}).Repository(s.Addr+"/"+name, Options{Insecure: true})
		if err == nil {
			_, err = pull(t.Context(), r)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRetry(t *testing.T) {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	var left atomic.Int32
	code, after := http.StatusTooManyRequests, "3"
	f := newFront(t, s, nil, func(w http.ResponseWriter, _ *http.Request) bool {
		if left.Add(-1) < 0 {
			return false
		}
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
		return true
	})
	c := newClient(t, Config{})
	var mu sync.Mutex
	var pauses []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		pauses = append(pauses, d)
		return nil
	}
	left.Store(2)
	if _, err := pull(t.Context(), repository(t, c, f.addr+"/"+name)); err != nil || fmt.Sprint(pauses) != "[3s 3s]" {
		t.Errorf("busy registry: %v, pauses %v", err, pauses)
	}
	pauses, code, after = nil, http.StatusServiceUnavailable, ""
	left.Store(2)
	if _, err := pull(t.Context(), repository(t, c, f.addr+"/"+name)); err != nil || fmt.Sprint(pauses) != "[500ms 1s]" {
		t.Errorf("unavailable registry: %v, pauses %v", err, pauses)
	}
	pauses, code, after = nil, http.StatusTooManyRequests, "20"
	left.Store(1000)
	_, err := pull(t.Context(), repository(t, c, f.addr+"/"+name))
	var sum time.Duration
	for _, p := range pauses {
		sum += p
	}
	if err == nil || !strings.Contains(err.Error(), "429") || sum > maxPatience {
		t.Errorf("registry that stays busy: %v after %v", err, sum)
	}
	if d, ok := retryAfter("Wed, 21 Oct 2015 07:28:00 GMT", time.Date(2015, 10, 21, 7, 27, 50, 0, time.UTC)); !ok || d != 10*time.Second {
		t.Errorf("date: %v %v", d, ok)
	}
}

func TestBrokenBodies(t *testing.T) {
	s := fixtures.Registry(t)
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	var requests atomic.Int32
	var stall atomic.Bool
	f := newFront(t, s, nil, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			return false
		}
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(blob)-1, len(blob)))
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(blob)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		// The client may have read the last byte before this returns.
		n := requests.Add(1)
		// Each answer ends, or stops, a little later than the one before.
		w.Write(blob[from:min(len(blob), from+100000)])
		w.(http.Flusher).Flush()
		if n < 3 {
			if stall.Load() {
				<-r.Context().Done()
			}
			panic(http.ErrAbortHandler)
		}
		return true
	})
	c := newClient(t, Config{})
	c.stallAfter = 300 * time.Millisecond
	for _, mode := range []bool{false, true} {
		requests.Store(0)
		stall.Store(mode)
		rc, err := repository(t, c, f.addr+"/lib/x:1").Fetch(t.Context(), desc)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, blob) || requests.Load() != 3 {
			t.Errorf("stall %v: %d bytes, %v, %d requests", mode, len(got), err, requests.Load())
		}
		rc.Close()
	}
}

func TestLimits(t *testing.T) {
	c := newClient(t, Config{Concurrency: 2})
	layer := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromString("x"), Size: 1}
	r := repository(t, c, "localhost:1/x:1")
	var held []io.Closer
	for range 2 {
		rc, err := r.Fetch(t.Context(), layer)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, rc)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Fetch(ctx, layer); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third blob: %v", err)
	}
	small := layer
	small.MediaType = ocispecs.MediaTypeImageManifest
	rc, err := r.Fetch(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
	other, err := repository(t, c, "localhost:2/x:1").Fetch(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	held[0].Close()
	held[0].Close()
	if rc, err = r.Fetch(t.Context(), layer); err != nil {
		t.Fatal(err)
	}
	rc.Close()
	held[1].Close()
}

// blobs is a provider of what is in memory.
type blobs map[digest.Digest][]byte

func (b blobs) ReaderAt(_ context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	return sizedReader{bytes.NewReader(b[desc.Digest])}, nil
}

type sizedReader struct{ *bytes.Reader }

func (sizedReader) Close() error { return nil }

func TestPush(t *testing.T) {
	s := fixtures.Registry(t)
	var mounts, puts atomic.Int32
	f := newFront(t, s, nil, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("from") == "lib/first" {
			mounts.Add(1)
		}
		if r.Method == http.MethodPut {
			puts.Add(1)
		}
		return false
	})
	c := newClient(t, Config{})
	store := blobs{}
	add := func(mediaType string, b []byte) ocispecs.Descriptor {
		d := digest.FromBytes(b)
		store[d] = b
		return ocispecs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	layer := add(ocispecs.MediaTypeImageLayer, bytes.Repeat([]byte("layer"), 100000))
	config := add(ocispecs.MediaTypeImageConfig, []byte(`{}`))
	manifest := add(ocispecs.MediaTypeImageManifest, fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispecs.MediaTypeImageManifest, config.MediaType, config.Digest, config.Size, layer.MediaType, layer.Digest, layer.Size))
	push := func(repo string) {
		t.Helper()
		r := repository(t, c, f.addr+"/"+repo)
		var n int64
		count := func(k int64) { n += k }
		if err := errors.Join(r.Push(t.Context(), layer, store, count), r.Push(t.Context(), config, store, nil),
			r.Push(t.Context(), manifest, store, nil)); err != nil {
			t.Fatal(err)
		}
		if err := r.PushTag(t.Context(), manifest, store); err != nil {
			t.Fatal(err)
		}
		got, err := pull(t.Context(), r)
		if err != nil || !bytes.Equal(got, store[manifest.Digest]) {
			t.Errorf("pushed %s, error %v", got, err)
		}
	}
	push("lib/first:1")
	before := puts.Load()
	push("lib/first:1") // Nothing to do.
	if puts.Load() != before {
		t.Errorf("%d uploads of what is there", puts.Load()-before)
	}
	layer.Annotations = map[string]string{"containerd.io/distribution.source.127.0.0.1": "lib/first"}
	push("lib/second:1")
	if mounts.Load() != 1 {
		t.Errorf("%d mounts", mounts.Load())
	}
	if err := repository(t, c, f.addr+"/lib/first@"+manifest.Digest.String()).PushTag(t.Context(), manifest, store); !errdefs.IsInvalidArgument(err) {
		t.Errorf("tag of a reference without one: %v", err)
	}
	f.mu.Lock()
	f.handle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut || r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	f.mu.Unlock()
	err := repository(t, c, f.addr+"/lib/third:1").Push(t.Context(), config, store, nil)
	if !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), pushDenied) {
		t.Errorf("denied push: %v", err)
	}
}
