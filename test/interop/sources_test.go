package interop_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRemoteSources builds from a plain web server, which also has a git
// repository as plain files: git's oldest protocol, without shallow fetches.
func TestRemoteSources(t *testing.T) {
	d := watch(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "data.txt"), "data")
	work := folder(t, "Dockerfile", "FROM scratch\nCOPY hello /\n", "hello", "top", "sub/Dockerfile", "FROM scratch\nCOPY hello /\n", "sub/hello", "sub")
	env := []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "PATH=" + os.Getenv("PATH")}
	for _, args := range [][]string{
		{"-C", work, "init", "--quiet", "--initial-branch=main"},
		{"-C", work, "add", "-A"},
		{"-C", work, "-c", "user.name=n", "-c", "user.email=e@x", "commit", "--quiet", "-m", "m"},
		{"clone", "--quiet", "--bare", work, filepath.Join(root, "app.git")},
		{"-C", filepath.Join(root, "app.git"), "update-server-info"},
	} {
		run(t, "", env, "git", args...).ok(t)
	}
	run(t, "", nil, "tar", "-C", filepath.Join(work, "sub"), "-czf", filepath.Join(root, "context.tar.gz"), "Dockerfile", "hello").ok(t)
	var sent atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/data.txt" {
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == "" {
				sent.Add(1)
			}
		}
		http.FileServer(http.Dir(root)).ServeHTTP(w, r)
	}))
	defer server.Close()
	dir := folder(t, "Dockerfile", strings.ReplaceAll(`FROM scratch
ADD SERVER/data.txt /
ADD SERVER/app.git#main:sub /sub
ADD --keep-git-dir SERVER/app.git /kept
`, "SERVER", server.URL))
	for range 2 {
		out := t.TempDir()
		dockerfile(t, d, dir, "--no-cache", "--output=type=local,dest="+out).ok(t)
		for path, want := range map[string]string{"data.txt": "data", "sub/hello": "sub", "kept/hello": "top"} {
			if got := read(t, filepath.Join(out, path)); got != want {
				t.Errorf("%s has %q, want %q", path, got, want)
			}
		}
		run(t, "", env, "git", "-C", filepath.Join(out, "kept"), "fsck").ok(t)
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("the file was sent %d times, want 1", n)
	}
	for context, want := range map[string]string{"/app.git#main:sub": "sub", "/app.git": "top", "/context.tar.gz": "sub"} {
		out := t.TempDir()
		buildctl(t, d, "build", "--frontend=dockerfile.v0", "--opt=context="+server.URL+context, "--output=type=local,dest="+out).ok(t)
		if got := read(t, filepath.Join(out, "hello")); got != want {
			t.Errorf("context %s: %q, want %q", context, got, want)
		}
	}
	write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nADD --checksum=sha256:"+strings.Repeat("0", 64)+" "+server.URL+"/data.txt /\n")
	dockerfile(t, d, dir).failed(t, "digest mismatch sha256:", ": sha256:"+strings.Repeat("0", 64))
	write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nADD "+server.URL+"/none.txt /\n")
	dockerfile(t, d, dir).failed(t, "invalid response status 404")
}
