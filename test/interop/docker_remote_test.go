package interop_test

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// git runs it in a folder.
func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	run(t, "", nil, "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...).ok(t)
}

// TestDockerGit builds contexts that are repositories: at a branch, a tag, in a
// subdirectory, and behind a door.
func TestDockerGit(t *testing.T) {
	e := newEngine(t)
	root := t.TempDir()
	repo := filepath.Join(root, "repo")
	dockerfile := func(text string) string {
		return "FROM " + base(t, "busybox") + "\nCOPY said /\nRUN cat /said && echo " + text + "\n"
	}
	git(t, root, "init", "-q", "-b", "main", repo)
	write(t, filepath.Join(repo, "Dockerfile"), dockerfile("at the top"))
	write(t, filepath.Join(repo, "said"), "from main\n")
	write(t, filepath.Join(repo, "sub", "Dockerfile"), dockerfile("below"))
	write(t, filepath.Join(repo, "sub", "said"), "from sub\n")
	git(t, repo, "add", ".")
	git(t, repo, "commit", "-q", "-m", "one")
	git(t, repo, "tag", "v1")
	git(t, repo, "checkout", "-q", "-b", "side/way")
	write(t, filepath.Join(repo, "said"), "from the branch\n")
	git(t, repo, "commit", "-q", "-a", "-m", "two")
	git(t, repo, "checkout", "-q", "main")
	serve := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(run(t, "", nil, "git", "--exec-path").ok(t).stdout), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
	mux := http.NewServeMux()
	mux.Handle("/repo/", serve)
	mux.HandleFunc("/locked/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="door"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	for remote, want := range map[string]string{
		"/repo/.git":               "from main\nat the top\n",
		"/repo/.git#side/way":      "from the branch\nat the top\n",
		"/repo/.git#v1":            "from main\nat the top\n",
		"/repo/.git#v1:sub":        "from sub\nbelow\n",
		"/repo/.git#:sub":          "from sub\nbelow\n",
		"/repo/.git#side/way:/sub": "from sub\nbelow\n",
	} {
		status, answer := e.post("/build?nocache=1&remote="+url.QueryEscape(s.URL+remote), nil)
		if got := readStream(t, strings.NewReader(answer)); status != http.StatusOK || got.failure != "" || got.id == "" || !strings.Contains(got.text, want) {
			t.Errorf("%s: %d, %+v", remote, status, got)
		}
	}
	for remote, want := range map[string]string{
		"/repo/.git#gone":  "repository does not contain ref gone",
		"/repo/.git#v1:no": "invalid subdir no: no does not exist in commit",
		"/locked/.git":     "could not read Username for '" + s.URL,
		"/nothing/.git":    "/nothing/.git/' not found",
		"/text":            "/text: invalid response status 404",
	} {
		for _, version := range []string{"1", "2"} {
			status, answer := e.post("/build?version="+version+"&remote="+url.QueryEscape(s.URL+remote), nil)
			if status == http.StatusOK {
				answer = readStream(t, strings.NewReader(answer)).failure
			}
			if !strings.Contains(answer, want) {
				t.Errorf("%s, version %s: %d %s", remote, version, status, answer)
			}
		}
	}
}
