package git

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

// server is git's own HTTP server with repositories of the test.
type server struct {
	*httptest.Server
	t    testing.TB
	root string

	mu       sync.Mutex
	requests []string
	// auths are the headers that requests had.
	auths []string
	// auth, if set, is the header that requests must have.
	auth string
	// environment of the server.
	environment []string
}

func newServer(t testing.TB) *server {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, root: t.TempDir()}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		s.auths = append(s.auths, r.Header.Get("Authorization"))
		auth := s.auth
		s.mu.Unlock()
		if auth != "" && r.Header.Get("Authorization") != auth {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Env: append([]string{
			"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=/dev/null",
			"GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"),
		}, s.environment...)}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// count returns how many requests there were since the last call.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.requests)
	s.requests = nil
	return n
}

func (s *server) secure(auth string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = auth
}

// repo is a repository on a server.
type repo struct {
	t   testing.TB
	url string
	dir string
}

// repo makes an empty repository with the branch main.
func (s *server) repo(name string, args ...string) *repo {
	s.t.Helper()
	r := &repo{t: s.t, url: s.URL + "/" + name, dir: filepath.Join(s.root, name)}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	r.git(append([]string{"init", "--quiet", "--initial-branch=main"}, args...)...)
	r.git("config", "http.receivepack", "false")
	return r
}

// git runs git in the repository and returns its output.
func (r *repo) git(args ...string) string {
	r.t.Helper()
	return r.pipe("", args...)
}

// pipe is git with an input.
func (r *repo) pipe(input string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = r.dir, strings.NewReader(input)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@d", "GIT_COMMITTER_DATE=1700000000 +0100", "GIT_AUTHOR_DATE=1600000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files ("->x" makes a link, "+x" an executable) and commits.
func (r *repo) commit(files map[string]string) string {
	r.t.Helper()
	for name, text := range files {
		p := filepath.Join(r.dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, p)
		} else if text, ok := strings.CutPrefix(text, "+"); ok {
			err = os.WriteFile(p, []byte(text), 0o755)
		} else if err == nil {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("commit", "--quiet", "--allow-empty", "-m", "m")
	return r.git("rev-parse", "HEAD")
}

// addModule adds a submodule at a path without cloning it.
func (r *repo) addModule(name, path, url, commit string) {
	r.t.Helper()
	r.git("config", "-f", ".gitmodules", "submodule."+name+".path", path)
	r.git("config", "-f", ".gitmodules", "submodule."+name+".url", url)
	r.git("add", ".gitmodules")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	r.git("commit", "--quiet", "-m", "module "+name)
}

// fixture is a source on a host of its own.
type fixture struct {
	*sourcetest.Host
	t      *testing.T
	source *Source
	env    *sourcetest.Env
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Host: sourcetest.NewHost(t), t: t, env: &sourcetest.Env{}}
	var err error
	if f.source, err = New(Config{Sessions: f.Sessions, Refs: f.Refs, Root: f.Root}); err != nil {
		t.Fatal(err)
	}
	return f
}

// identifier is that of a remote, as clients make it.
func identifier(t testing.TB, remote, fragment string, attrs ...string) source.Identifier {
	t.Helper()
	_, rest, ok := strings.Cut(remote, "://")
	if !ok {
		rest = remote
	}
	m := map[string]string{"git.fullurl": remote}
	for i := 0; i < len(attrs); i += 2 {
		m[attrs[i]] = attrs[i+1]
	}
	id, err := source.ParseIdentifier("git://"+rest+fragment, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// get asks for the key and fetches.
func (f *fixture) get(remote, fragment string, attrs ...string) (key string, r *ref.Ref, err error) {
	f.t.Helper()
	in, err := f.source.Open(f.t.Context(), identifier(f.t, remote, fragment, attrs...))
	if err != nil {
		return "", nil, err
	}
	k, err := in.Key(f.t.Context(), f.env)
	if err != nil {
		return "", nil, err
	}
	r, err = in.Fetch(f.t.Context(), f.env)
	return k.Definition, r, err
}

// dir returns the directory of what get brings.
func (f *fixture) dir(remote, fragment string, attrs ...string) string {
	f.t.Helper()
	_, r, err := f.get(remote, fragment, attrs...)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.Dir(f.t, r)
}

// listing describes a tree without its repositories: mode, path and contents.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%v %s", info.Mode(), rel)
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			line += " -> " + target
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}
