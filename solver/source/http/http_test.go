package http

import (
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/singlefile"
	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

// fixture is a source on a host of its own.
type fixture struct {
	*sourcetest.Host
	t      *testing.T
	source *Source
	env    *sourcetest.Env
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{Host: sourcetest.NewHost(t), t: t, env: &sourcetest.Env{}}
	f.restart()
	return f
}

// restart makes the source anew on what is on disk.
func (f *fixture) restart() {
	f.t.Helper()
	var err error
	if f.source, err = New(Config{Sessions: f.Sessions, Refs: f.Refs, Root: f.Root}); err != nil {
		f.t.Fatal(err)
	}
	f.source.pause = time.Millisecond
}

func (f *fixture) open(addr string, attrs ...string) *instance {
	f.t.Helper()
	in, err := f.source.Open(f.t.Context(), identifier(f.t, addr, attrs...))
	if err != nil {
		f.t.Fatal(err)
	}
	return in.(*instance)
}

func identifier(t testing.TB, addr string, attrs ...string) source.Identifier {
	t.Helper()
	m := map[string]string{}
	for i := 0; i < len(attrs); i += 2 {
		m[attrs[i]] = attrs[i+1]
	}
	id, err := source.ParseIdentifier(addr, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// get asks for the key and fetches.
func (f *fixture) get(addr string, attrs ...string) (key string, r *ref.Ref, err error) {
	f.t.Helper()
	in := f.open(addr, attrs...)
	k, err := in.Key(f.t.Context(), f.env)
	if err != nil {
		return "", nil, err
	}
	r, err = in.Fetch(f.t.Context(), f.env)
	return k.Definition, r, err
}

// read returns the only file of what get brings.
func (f *fixture) read(addr string, attrs ...string) (name, text string, info os.FileInfo) {
	f.t.Helper()
	_, r, err := f.get(addr, attrs...)
	if err != nil {
		f.t.Fatal(err)
	}
	dir := f.Dir(f.t, r)
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		f.t.Fatalf("%d entries, want 1 (%v)", len(list), err)
	}
	data, err := os.ReadFile(filepath.Join(dir, list[0].Name()))
	if err != nil {
		f.t.Fatal(err)
	}
	if info, err = list[0].Info(); err != nil {
		f.t.Fatal(err)
	}
	return list[0].Name(), string(data), info
}

// server counts what it sends.
type server struct {
	*httptest.Server
	requests atomic.Int32
}

func serve(t *testing.T, h func(s *server, w http.ResponseWriter, r *http.Request)) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		h(s, w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestFileAttributes(t *testing.T) {
	modified := time.Date(2021, 2, 3, 4, 5, 6, 0, time.UTC)
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/dated":
			w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
		case "/named":
			w.Header().Set("Content-Disposition", `attachment; filename="../../etc/passwd"`)
		}
		fmt.Fprint(w, "content")
	})
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	f := newFixture(t)
	for _, c := range []struct {
		path, name string
		attrs      []string
		mode       os.FileMode
		mtime      time.Time
		uid, gid   uint32
	}{
		{path: "/a/file.tar", name: "file.tar", mode: 0o600, mtime: time.Unix(0, 0)},
		{path: "/dated", name: "dated", mode: 0o600, mtime: modified},
		{path: "/named", name: "passwd", mode: 0o600, mtime: time.Unix(0, 0)},
		{path: "/named", attrs: []string{"http.filename", "mine"}, name: "mine", mode: 0o600, mtime: time.Unix(0, 0)},
		{path: "/x/", name: "x", mode: 0o600, mtime: time.Unix(0, 0)},
		{path: "/", name: "download", mode: 0o600, mtime: time.Unix(0, 0)},
		{path: "", name: "download", mode: 0o600, mtime: time.Unix(0, 0)},
		{path: "/y", attrs: []string{"http.perm", "0755", "http.uid", "12", "http.gid", "34"}, name: "y", mode: 0o755, mtime: time.Unix(0, 0), uid: 12, gid: 34},
		{path: "/z", attrs: []string{"http.perm", "04777"}, name: "z", mode: 0o777, mtime: time.Unix(0, 0)},
	} {
		name, text, info := f.read(s.URL+c.path, c.attrs...)
		st := info.Sys().(*syscall.Stat_t)
		if name != c.name || text != "content" || info.Mode() != c.mode || !info.ModTime().Equal(c.mtime) || st.Uid != c.uid || st.Gid != c.gid {
			t.Errorf("%s %v: %q %q %v %v %d:%d", c.path, c.attrs, name, text, info.Mode(), info.ModTime(), st.Uid, st.Gid)
		}
	}
}

func TestRevalidation(t *testing.T) {
	for _, c := range []struct {
		name string
		// handle answers with version v; the record is used if the server
		// says so in its way.
		handle func(w http.ResponseWriter, r *http.Request, v int) bool
		reused bool
	}{
		{"etag", func(w http.ResponseWriter, r *http.Request, v int) bool {
			tag := fmt.Sprintf(`"v%d"`, v)
			w.Header().Set("ETag", tag)
			return r.Header.Get("If-None-Match") == tag
		}, true},
		{"weak etag", func(w http.ResponseWriter, r *http.Request, v int) bool {
			tag := fmt.Sprintf(`W/"v%d"`, v)
			w.Header().Set("ETag", tag)
			return r.Header.Get("If-None-Match") == tag
		}, true},
		{"304 without etag", func(w http.ResponseWriter, r *http.Request, v int) bool {
			tag := fmt.Sprintf(`"v%d"`, v)
			if r.Header.Get("If-None-Match") == tag {
				return true
			}
			w.Header().Set("ETag", tag)
			return false
		}, true},
		{"conditions ignored", func(w http.ResponseWriter, _ *http.Request, v int) bool {
			w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, v))
			return false
		}, true},
		{"last-modified", func(w http.ResponseWriter, r *http.Request, v int) bool {
			text := time.Date(2020, 1, v, 0, 0, 0, 0, time.UTC).Format(http.TimeFormat)
			w.Header().Set("Last-Modified", text)
			return r.Header.Get("If-Modified-Since") == text
		}, true},
		{"last-modified just now", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			return r.Header.Get("If-Modified-Since") != ""
		}, false},
		{"304 of something else", func(w http.ResponseWriter, r *http.Request, v int) bool {
			w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, v))
			if r.Header.Get("If-None-Match") != "" {
				w.Header().Set("ETag", `"other"`)
				return true
			}
			return false
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			var version atomic.Int32
			version.Store(1)
			s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
				if c.handle(w, r, int(version.Load())) {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				fmt.Fprintf(w, "version %d", version.Load())
			})
			get := func() (key, id, text string) {
				t.Helper()
				key, r, err := f.get(s.URL + "/f")
				if err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(filepath.Join(f.Dir(t, r), "f"))
				if err != nil {
					t.Fatal(err)
				}
				return key, r.ID(), string(b)
			}
			_, id1, _ := get()
			f.restart()
			_, id2, text := get()
			if (id1 == id2) != c.reused || text != "version 1" {
				t.Errorf("asked again: reused is %v, text %q", id1 == id2, text)
			}
			version.Store(2)
			if _, id3, text := get(); id3 == id1 || text != "version 2" {
				t.Errorf("changed on the server: %q", text)
			}
		})
	}
}

func TestPruned(t *testing.T) {
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "x")
	})
	f := newFixture(t)
	f.read(s.URL + "/f")
	in := f.open(s.URL + "/f")
	if _, err := in.Key(t.Context(), f.env); err != nil {
		t.Fatal(err)
	}
	// The cleanup of read holds the first; make it and the record useless.
	in.known.ID = "gone"
	if err := f.source.records.drop(in.spec.question()); err != nil {
		t.Fatal(err)
	}
	r, err := in.Fetch(t.Context(), f.env)
	if err != nil {
		t.Fatal(err)
	}
	f.Dir(t, r)
}

func TestChecksum(t *testing.T) {
	s := serve(t, func(_ *server, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "content") })
	f := newFixture(t)
	good, bad := digest.FromString("content"), digest.FromString("other")
	in := f.open(s.URL+"/f", "http.checksum", good.String())
	k, err := in.Key(t.Context(), f.env)
	if err != nil || s.requests.Load() != 0 {
		t.Fatalf("key of a pinned URL: %v, %d requests", err, s.requests.Load())
	}
	m, err := f.source.Resolve(t.Context(), f.env, identifier(t, s.URL+"/f", "http.checksum", good.String()), source.ResolveOptions{})
	if err != nil || m.HTTP.Digest != good || m.HTTP.Filename != "f" || s.requests.Load() != 0 {
		t.Fatalf("Resolve of a pinned URL: %+v %v", m, err)
	}
	for range 2 {
		r, err := in.Fetch(t.Context(), f.env)
		if err != nil {
			t.Fatal(err)
		}
		f.Dir(t, r)
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests for a pinned file, want 1", n)
	}
	plain, _, err := f.get(s.URL + "/f")
	if err != nil || plain != k.Definition {
		t.Errorf("key %s pinned, %s not pinned (%v)", k.Definition, plain, err)
	}
	_, _, err = f.get(s.URL+"/f", "http.checksum", bad.String())
	want := fmt.Sprintf("digest mismatch %s: %s", good, bad)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestResolve(t *testing.T) {
	at := time.Date(2022, 1, 2, 3, 4, 5, 0, time.UTC)
	s := serve(t, func(_ *server, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", at.Format(http.TimeFormat))
		w.Header().Set("Content-Disposition", `attachment; filename="x.tar"`)
		fmt.Fprint(w, "content")
	})
	f := newFixture(t)
	(&sourcetest.Client{}).Open(t, f.Sessions, "s1")
	f.env.IDs = []string{"s1"}
	m, err := f.source.Resolve(t.Context(), f.env, identifier(t, s.URL+"/f"), source.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h := m.HTTP; h.Digest != digest.FromString("content") || h.Filename != "x.tar" || *h.LastModified != at.Unix() {
		t.Errorf("%+v", h)
	}
	// Within the session nothing is asked again, although nothing validates.
	if name, text, _ := f.read(s.URL + "/f"); name != "x.tar" || text != "content" || s.requests.Load() != 1 {
		t.Errorf("%q %q after %d requests", name, text, s.requests.Load())
	}
}

// TestKey compares with a key that was computed by hand from the wire facts.
func TestKey(t *testing.T) {
	sp, err := parseSpec(identifier(t, "https://example.com/f", "http.perm", "0644", "http.header.accept", "a/b", "http.header.x-other", "no"))
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromString("x")
	want := digest.FromString(`{"Filename":"f","Perm":420,"UID":0,"GID":0,"Checksum":"` + d.String() +
		`","LastModTime":"Thu, 01 Jan 1970 00:00:01 GMT","Header":[{"Name":"Accept","Value":"a/b"}]}`)
	one := int64(1)
	if got := sp.key("f", d, &one); got != want.String() {
		t.Errorf("key %s, want %s", got, want)
	}
}

func TestAuthorization(t *testing.T) {
	var seen atomic.Value
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization") + "|" + r.Header.Get("Accept") + "|" + r.Header.Get("User-Agent"))
		fmt.Fprint(w, "x")
	})
	f := newFixture(t)
	c := &sourcetest.Client{Secrets: map[string]string{}}
	c.Open(t, f.Sessions, "s1")
	f.env.IDs = []string{"s1"}
	n := 0
	check := func(want string, secrets map[string]string, attrs ...string) {
		t.Helper()
		n++
		c.Secrets = secrets
		if _, r, err := f.get(fmt.Sprintf("%s/%d", s.URL, n), attrs...); err != nil {
			t.Error(err)
		} else if f.Dir(t, r); seen.Load() != want {
			t.Errorf("sent %q, want %q", seen.Load(), want)
		}
	}
	check("||kiln", nil)
	check("Bearer tok||kiln", map[string]string{"HTTP_AUTH_TOKEN_127.0.0.1": "tok\n"})
	check("Digest raw||kiln", map[string]string{"HTTP_AUTH_HEADER_127.0.0.1": "Digest raw"})
	check("Bearer tok||kiln", map[string]string{"HTTP_AUTH_HEADER_127.0.0.1": "Digest raw", "HTTP_AUTH_TOKEN_127.0.0.1": "tok"})
	check("mine||kiln", map[string]string{"own": "mine", "HTTP_AUTH_TOKEN_127.0.0.1": "tok"}, "http.authheadersecret", "own")
	check("|text/x|me", nil, "http.header.accept", "text/x", "http.header.user-agent", "me", "http.header.cookie", "no")
	_, _, err := f.get(s.URL+"/missing", "http.authheadersecret", "none")
	if err == nil || !strings.Contains(err.Error(), "failed to retrieve HTTP auth secret none: secret none: not found") {
		t.Errorf("missing secret: %v", err)
	}
	c.Secrets = map[string]string{"HTTP_AUTH_TOKEN_127.0.0.1": "a\r\nX: hidden"}
	if _, _, err = f.get(s.URL + "/smuggle"); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("secret of two lines: %v", err)
	}
}

func TestPasswordInURL(t *testing.T) {
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != "me" || p != "hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	})
	f := newFixture(t)
	addr := strings.Replace(s.URL, "http://", "http://me:hunter2@", 1)
	_, _, err := f.get(addr + "/f")
	if err == nil || !strings.Contains(err.Error(), "invalid response status 418") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestRedirects(t *testing.T) {
	var auths []string
	other := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		auths = append(auths, "other "+r.Header.Get("Authorization"))
		fmt.Fprint(w, "other")
	})
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		auths = append(auths, r.URL.Path+" "+r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/other":
			// The same address by another port: not the one the secret is for.
			http.Redirect(w, r, other.URL+"/end?token=private", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/steal":
			http.Redirect(w, r, "http://buildkit-session/upload", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		default:
			fmt.Fprint(w, "end")
		}
	})
	f := newFixture(t)
	c := &sourcetest.Client{Secrets: map[string]string{"HTTP_AUTH_TOKEN_127.0.0.1": "tok"}, Uploads: map[string]string{"/upload": "mine"}}
	c.Open(t, f.Sessions, "s1")
	f.env.IDs = []string{"s1"}
	if _, text, _ := f.read(s.URL + "/same"); text != "end" {
		t.Error(text)
	}
	if _, text, _ := f.read(s.URL + "/other"); text != "other" {
		t.Error(text)
	}
	if got := strings.Join(auths, ","); got != "/same Bearer tok,/end Bearer tok,/other Bearer tok,other " {
		t.Errorf("credentials sent: %s", got)
	}
	for path, want := range map[string]string{"/loop": "more than 10 redirects", "/steal": "refused", "/file": "unsupported protocol scheme"} {
		if _, _, err := f.get(s.URL + path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if len(c.Uploads) != 1 {
		t.Error("a server's redirect has taken a client's upload")
	}
}

func TestBounds(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(s *server, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			w.Header().Set("Content-Length", "1000000")
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(make([]byte, 1_000_000))
			z.Close()
		case "/stall":
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-release:
			}
		case "/short":
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("x"))
		case "/busy":
			if s.requests.Load()%3 != 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/gone":
			w.WriteHeader(http.StatusNotFound)
		}
	})
	defer close(release)
	f := newFixture(t)
	f.source.cfg.MaxSize = 5000
	f.source.stall = 100 * time.Millisecond
	for path, want := range map[string]string{
		"/long": "more than 5000 bytes", "/endless": "more than 5000 bytes", "/bomb": "more than 5000 bytes",
		"/stall": "stopped sending", "/short": "unexpected EOF", "/gone": "invalid response status 404",
	} {
		_, _, err := f.get(s.URL + path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
		if path == "/gone" && !errdefs.IsNotFound(err) {
			t.Errorf("%v is not NotFound", err)
		}
	}
	if n := f.Held(t); n != 0 {
		t.Errorf("%d refs of files that failed", n)
	}
	s.requests.Store(0)
	f.read(s.URL + "/busy")
	if n := s.requests.Load(); n != 3 {
		t.Errorf("%d requests of a busy server, want 3", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.open(s.URL+"/stall").Key(ctx, f.env); err == nil {
		t.Error("a cancelled build has a key")
	}
}

func TestUpload(t *testing.T) {
	f := newFixture(t)
	f.env.IDs = []string{"s1"}
	if _, _, err := f.get("http://buildkit-session/none"); err == nil {
		t.Error("upload without a session")
	}
	body := strings.Repeat("0123456789", 1000)
	c := &sourcetest.Client{Uploads: map[string]string{"/abc": body}}
	stop := c.Open(t, f.Sessions, "s1")
	for range 2 {
		// It can be had once; within the session the file stays known.
		if name, text, _ := f.read("http://buildkit-session/abc"); name != "abc" || text != body {
			t.Fatalf("%q, %d bytes", name, len(text))
		}
	}
	if _, _, err := f.get("http://buildkit-session/none"); !errdefs.IsNotFound(err) {
		t.Errorf("unknown upload: %v", err)
	}
	stop()
	f.env.IDs = []string{"s2"}
	(&sourcetest.Client{}).Open(t, f.Sessions, "s2")
	if _, _, err := f.get("http://buildkit-session/abc"); err == nil {
		t.Error("another session has the upload")
	}
}

func TestOpenRefuses(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		addr, attr, value string
		is                func(error) bool
	}{
		{"http://", "", "", errdefs.IsInvalidArgument},
		{"http://user:pass@host:port/%zz", "", "", errdefs.IsInvalidArgument},
		{"http://h/" + strings.Repeat("x", maxURL), "", "", errdefs.IsInvalidArgument},
		{"http://h/f", "http.checksum", "sha256:abc", errdefs.IsInvalidArgument},
		{"http://h/f", "http.perm", "rw", errdefs.IsInvalidArgument},
		{"http://h/f", "http.perm", "-1", errdefs.IsInvalidArgument},
		{"http://h/f", "http.uid", "4294967295", errdefs.IsInvalidArgument},
		{"http://h/f", "http.header.accept", "a\r\nb: c", errdefs.IsInvalidArgument},
		{"http://h/f", "http.sig.pubkey", "key", errdefs.IsInvalidArgument},
		{"http://h/f", "http.sig.signature", "sig", errdefs.IsInvalidArgument},
	} {
		_, err := f.source.Open(t.Context(), identifier(t, c.addr, c.attr, c.value))
		if !c.is(err) || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%s %s=%q: %v", c.addr[:min(40, len(c.addr))], c.attr, c.value, err)
		}
	}
}

func FuzzFilename(f *testing.F) {
	for _, s := range []string{"", "a", "../x", "/", `attachment; filename="a/b"`, "x\x00y", strings.Repeat("n", 300), "..", " . "} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, wish, disposition, path string) {
		name := filename(wish, disposition, &url.URL{Path: path})
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > singlefile.MaxName {
			t.Errorf("name %q of %q %q %q", name, wish, disposition, path)
		}
	})
}

func FuzzParseSpec(f *testing.F) {
	f.Add("example.com/f", "http.perm", "0644")
	f.Add("user:pass@h/f?x#y", "http.header.accept", "*/*")
	f.Fuzz(func(t *testing.T, addr, attr, value string) {
		sp, err := parseSpec(source.Identifier{Scheme: "http", Ref: addr, Attrs: map[string]string{attr: value}})
		if err == nil && (sp.file.Perm < 0 || sp.target.Host == "") {
			t.Errorf("%+v", sp)
		}
	})
}

func TestRecordsBounded(t *testing.T) {
	recs, err := openRecords(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	recs.n = maxRecords
	if err := recs.put("q", record{found: found{ID: "i", Digest: digest.FromString("")}}); err != nil {
		t.Fatal(err)
	}
	if rec, ok := recs.get("q"); !ok || rec.ID != "i" || recs.n != 1 {
		t.Errorf("%v %v, %d counted", rec, ok, recs.n)
	}
	if err := recs.put("q", record{found: found{ID: "i"}, ETag: strings.Repeat("x", maxRecord)}); err != nil {
		t.Fatal(err)
	}
	if _, ok := recs.get("q"); ok {
		t.Error("an absurd header was recorded, or the old record left")
	}
}
