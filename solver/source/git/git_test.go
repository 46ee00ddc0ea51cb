package git

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

func TestReferences(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	one := r.commit(map[string]string{"f": "1"})
	r.git("tag", "light")
	r.git("tag", "-a", "-m", "t", "v1")
	tag := r.git("rev-parse", "v1")
	r.git("branch", "both", one)
	two := r.commit(map[string]string{"f": "2"})
	r.git("tag", "both", two)
	r.git("update-ref", "refs/pull/7/head", one)
	r.git("checkout", "--quiet", "-b", "feature/x")
	three := r.commit(map[string]string{"f": "3"})
	r.git("checkout", "--quiet", "main")
	f := newFixture(t)
	for _, c := range []struct {
		ref, key, keepKey, text string
	}{
		{"", two, two + ".git#refs/heads/main", "2"},
		{"#main", two, two + ".git#refs/heads/main", "2"},
		{"#refs/heads/main", two, two + ".git#refs/heads/main", "2"},
		{"#heads/main", two, two + ".git#refs/heads/main", "2"},
		{"#light", one, one + ".git#refs/tags/light", "1"},
		{"#v1", one, tag + ".git#refs/tags/v1", "1"},
		{"#refs/tags/v1", one, tag + ".git#refs/tags/v1", "1"},
		{"#both", one, one + ".git#refs/heads/both", "1"},
		{"#pull/7/head", one, one + ".git#refs/pull/7/head", "1"},
		{"#feature/x", three, three + ".git#refs/heads/feature/x", "3"},
		{"#" + one, one, one + ".git#" + one, "1"},
		{"#" + tag, tag, tag + ".git#" + tag, "1"},
	} {
		key, got, err := f.get(r.url, c.ref)
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		equal(t, c.ref+" key", key, c.key)
		equal(t, c.ref, listing(t, f.Dir(t, got)), `-rw-r--r-- f "`+c.text+`"`)
		key, got, err = f.get(r.url, c.ref, "git.keepgitdir", "true")
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		equal(t, c.ref+" key with .git", key, c.keepKey)
		kept := &repo{t: t, dir: f.Dir(t, got)}
		equal(t, c.ref+" with .git", listing(t, kept.dir), `-rw-r--r-- f "`+c.text+`"`)
		if head := kept.git("rev-parse", "HEAD"); !strings.HasPrefix(c.key, head) && c.key != tag {
			t.Errorf("%s: HEAD is %s", c.ref, head)
		}
		equal(t, c.ref+" status", kept.git("status", "--porcelain"), "")
		equal(t, c.ref+" origin", kept.git("remote", "get-url", "origin"), r.url)
		if strings.HasPrefix(c.ref, "#v1") {
			equal(t, "describe", kept.git("describe"), "v1")
		}
	}
	if _, _, err := f.get(r.url, "#nope"); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "repository does not contain ref nope") {
		t.Errorf("missing ref: %v", err)
	}
	if _, _, err := f.get(r.url, "#"+strings.Repeat("0", 40)); err == nil {
		t.Error("missing commit is there")
	}
	if _, _, err := f.get(s.URL+"/none.git", ""); err == nil || !strings.Contains(err.Error(), "failed to fetch remote") {
		t.Errorf("missing repository: %v", err)
	}
}

// TestMovedReference checks that Fetch brings what Key named.
func TestMovedReference(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	f := newFixture(t)
	in, err := f.source.Open(t.Context(), identifier(t, r.url, "#main"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Key(t.Context(), f.env); err != nil {
		t.Fatal(err)
	}
	r.commit(map[string]string{"f": "2"})
	got, err := in.Fetch(t.Context(), f.env)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "moved", listing(t, f.Dir(t, got)), `-rw-r--r-- f "1"`)
	equal(t, "asked again", listing(t, f.dir(r.url, "#main")), `-rw-r--r-- f "2"`)
	// A branch that is in the way of another, and one that was rewritten.
	r.git("branch", "a")
	f.dir(r.url, "#a")
	r.git("branch", "-D", "a")
	r.git("branch", "a/b")
	f.dir(r.url, "#a/b")
	r.git("commit", "--quiet", "--amend", "-m", "other")
	f.dir(r.url, "#main")
}

func TestSessionSeesOneCommit(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	f := newFixture(t)
	(&sourcetest.Client{}).Open(t, f.Sessions, "s1")
	f.env.IDs = []string{"s1"}
	f.dir(r.url, "#main")
	r.commit(map[string]string{"f": "2"})
	s.count()
	equal(t, "same session", listing(t, f.dir(r.url, "#main")), `-rw-r--r-- f "1"`)
	if n := s.count(); n != 0 {
		t.Errorf("%d requests in the same session", n)
	}
}

func TestKnownCommitNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	one := r.commit(map[string]string{"f": "1"})
	f := newFixture(t)
	f.dir(r.url, "")
	s.count()
	f.dir(r.url, "#"+one)
	if n := s.count(); n != 0 {
		t.Errorf("%d requests for a commit that is there", n)
	}
}

// TestRestrictedServer serves only what it advertises, and has no protocol 2.
func TestRestrictedServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.environment = []string{"GIT_PROTOCOL=version=0"}
	r := s.repo("r.git")
	old := r.commit(map[string]string{"f": "1"})
	r.commit(map[string]string{"f": "2"})
	f := newFixture(t)
	f.dir(r.url, "")
	equal(t, "old commit", listing(t, f.dir(r.url, "#"+old)), `-rw-r--r-- f "1"`)
	g := newFixture(t)
	equal(t, "old commit first", listing(t, g.dir(r.url, "#"+old, "git.keepgitdir", "true")), `-rw-r--r-- f "1"`)
}

func TestFiles(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{
		"a": "text\n", "sub/b": "+#!/bin/sh\n", "sub/dir/c": "c", "out": "->../../../etc/passwd", "sub/abs": "->/etc",
		".gitattributes": "*.bat eol=crlf\n*.secret filter=evil\n", "sub/x.bat": "one\n", "k.secret": "raw",
	})
	f := newFixture(t)
	equal(t, "tree", listing(t, f.dir(r.url, "")), strings.Join([]string{
		`-rw-r--r-- .gitattributes "*.bat eol=crlf\n*.secret filter=evil\n"`, `-rw-r--r-- a "text\n"`, `-rw-r--r-- k.secret "raw"`,
		`-rw-r--r-- sub/dir/c "c"`, `-rw-r--r-- sub/x.bat "one\r\n"`, `-rwxr-xr-x sub/b "#!/bin/sh\n"`,
		`Lrwxrwxrwx out -> ../../../etc/passwd`, `Lrwxrwxrwx sub/abs -> /etc`, `drwxr-xr-x sub`, `drwxr-xr-x sub/dir`,
	}, "\n"))
	sub := strings.Join([]string{
		`-rw-r--r-- dir/c "c"`, `-rw-r--r-- x.bat "one\r\n"`, `-rwxr-xr-x b "#!/bin/sh\n"`, `Lrwxrwxrwx abs -> /etc`, `drwxr-xr-x dir`,
	}, "\n")
	for _, frag := range []string{"#main:sub", "#:sub/", "#:/sub", "#:a/../sub"} {
		equal(t, frag, listing(t, f.dir(r.url, frag)), sub)
	}
	for frag, want := range map[string]string{
		"#:out": "contains non-directory", "#:sub/abs": "contains non-directory", "#:sub/abs/ssh": "contains non-directory",
		"#:a": "contains non-directory", "#:none": "does not exist", "#:sub/*": "does not exist",
	} {
		if _, _, err := f.get(r.url, frag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", frag, err, want)
		}
	}
	// Upwards is the top.
	equal(t, "upwards", listing(t, f.dir(r.url, "#:../../sub")), sub)
	empty := s.repo("empty.git")
	empty.commit(nil)
	equal(t, "empty", listing(t, f.dir(empty.url, "")), "")
}

func TestCommitTimes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"d/f": "1", "l": "->/etc/passwd"})
	before, err := os.Stat("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	for _, attrs := range [][]string{{"git.mtime", "commit"}, {"git.mtime", "commit", "git.keepgitdir", "true"}} {
		key, got, err := f.get(r.url, "", attrs...)
		if err != nil || !strings.HasSuffix(key, "(mtime=commit)") {
			t.Fatalf("%q %v", key, err)
		}
		dir := f.Dir(t, got)
		for _, p := range []string{".", "d", "d/f", "l"} {
			if info, err := os.Lstat(filepath.Join(dir, p)); err != nil || info.ModTime().Unix() != 1700000000 {
				t.Errorf("%s: %v %v", p, info.ModTime(), err)
			}
		}
	}
	if after, err := os.Stat("/etc/passwd"); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Error("a link's target has got another time")
	}
	info, err := os.Lstat(filepath.Join(f.dir(r.url, ""), "d/f"))
	if err != nil || time.Since(info.ModTime()) > time.Hour {
		t.Errorf("time of a checkout: %v %v", info.ModTime(), err)
	}
}

func TestChecksum(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	one := r.commit(map[string]string{"f": "1"})
	r.git("tag", "-a", "-m", "t", "v1")
	tag := r.git("rev-parse", "v1")
	f := newFixture(t)
	for frag, sums := range map[string][]string{"": {one, one[:8], strings.ToUpper(one)}, "#v1": {one, tag[:10]}, "#" + one: {one[:7]}} {
		for _, sum := range sums {
			equal(t, frag, listing(t, f.dir(r.url, frag, "git.checksum", sum)), `-rw-r--r-- f "1"`)
		}
	}
	bad := "abcdef0"
	for frag, want := range map[string]string{
		"#main": "expected checksum to match " + bad + ", got " + one,
		"#v1":   "expected checksum to match " + bad + ", got " + tag + " or " + one, "#" + one: "expected checksum to match " + bad + ", got " + one,
	} {
		if _, _, err := f.get(r.url, frag, "git.checksum", bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", frag, err, want)
		}
	}
}

func TestFetchByCommit(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	one := r.commit(map[string]string{"f": "1"})
	r.commit(map[string]string{"f": "2"})
	f := newFixture(t)
	key, got, err := f.get(r.url, "#main", "git.fetchbycommit", "true", "git.checksum", one, "git.keepgitdir", "true")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "key", key, one+".git#refs/heads/main")
	kept := &repo{t: t, dir: f.Dir(t, got)}
	equal(t, "tree", listing(t, kept.dir), `-rw-r--r-- f "1"`)
	equal(t, "main", kept.git("rev-parse", "refs/heads/main"), one)
	for sum, want := range map[string]string{"": "requires a checksum", "abc": "full commit SHA checksum"} {
		if _, _, err := f.get(r.url, "#main", "git.fetchbycommit", "true", "git.checksum", sum); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", sum, err)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	one := r.commit(map[string]string{"f": "1"})
	r.git("tag", "-a", "-m", "t", "v1")
	f := newFixture(t)
	m, err := f.source.Resolve(t.Context(), f.env, identifier(t, r.url, "#v1"), source.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if g := m.Git; g.Ref != "refs/tags/v1" || g.Checksum != r.git("rev-parse", "v1") || g.CommitChecksum != one || g.CommitTime != nil {
		t.Errorf("%+v", g)
	}
	for _, frag := range []string{"#v1", "#" + one, ""} {
		m, err := f.source.Resolve(t.Context(), f.env, identifier(t, r.url, frag), source.ResolveOptions{CommitTime: true})
		if err != nil || m.Git.CommitTime == nil || *m.Git.CommitTime != 1700000000 {
			t.Errorf("%q: %+v %v", frag, m, err)
		}
	}
}

func TestObjectFormat(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git", "--object-format=sha256")
	one := r.commit(map[string]string{"f": "1"})
	f := newFixture(t)
	key, got, err := f.get(r.url, "", "git.keepgitdir", "true")
	if err != nil || len(one) != 64 || !strings.HasPrefix(key, one) {
		t.Fatalf("%s %v", key, err)
	}
	kept := &repo{t: t, dir: f.Dir(t, got)}
	equal(t, "status", kept.git("status", "--porcelain"), "")
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	const token = "s3cr3t-token"
	basic := "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token))
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	host := strings.TrimPrefix(s.URL, "http://")
	attrs := []string{"git.authtokensecret", "GIT_AUTH_TOKEN", "git.authheadersecret", "GIT_AUTH_HEADER"}
	for name, c := range map[string]struct {
		secrets map[string]string
		want    string
	}{
		"token":          {map[string]string{"GIT_AUTH_TOKEN": token + "\n"}, basic},
		"header":         {map[string]string{"GIT_AUTH_HEADER": "custom " + token}, "custom " + token},
		"token of host":  {map[string]string{"GIT_AUTH_TOKEN." + host: token, "GIT_AUTH_HEADER": "custom x"}, basic},
		"header of host": {map[string]string{"GIT_AUTH_HEADER." + host: "custom h", "GIT_AUTH_TOKEN." + host: token}, "custom h"},
	} {
		f := newFixture(t)
		(&sourcetest.Client{Secrets: c.secrets}).Open(t, f.Sessions, "s1")
		f.env.IDs = []string{"s1"}
		s.secure(c.want)
		_, got, err := f.get(r.url, "", attrs...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equal(t, name, listing(t, f.Dir(t, got)), `-rw-r--r-- f "1"`)
		s.secure("something else")
		_, _, err = f.get(r.url, "#other", attrs...)
		if err == nil || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), basic) {
			t.Errorf("%s: %v", name, err)
		}
		if logs := f.env.Logs(); strings.Contains(logs, token) || strings.Contains(logs, basic) {
			t.Errorf("%s: logs have the secret: %s", name, logs)
		}
	}
	f := newFixture(t)
	s.secure("Basic " + base64.StdEncoding.EncodeToString([]byte("me:hunter2")))
	dir := f.dir(strings.Replace(r.url, "http://", "http://me:hunter2@", 1), "", "git.keepgitdir", "true")
	config, err := os.ReadFile(filepath.Join(dir, ".git/config"))
	if err != nil || strings.Contains(string(config), "hunter2") {
		t.Errorf("%v, configuration:\n%s", err, config)
	}
	if _, _, err := f.get(strings.Replace(r.url, "http://", "http://me:wrong77@", 1), "#x"); err == nil || strings.Contains(err.Error(), "wrong77") {
		t.Errorf("wrong password: %v", err)
	}
}

// TestTokenStaysHome has a submodule on another server, which must not see the
// token for the first.
func TestTokenStaysHome(t *testing.T) {
	t.Parallel()
	other := newServer(t)
	lib := other.repo("lib.git")
	one := lib.commit(map[string]string{"l": "1"})
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	r.addModule("m", "sub", lib.url, one)
	f := newFixture(t)
	(&sourcetest.Client{Secrets: map[string]string{"T": "token"}}).Open(t, f.Sessions, "s1")
	f.env.IDs = []string{"s1"}
	basic := "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:token"))
	s.secure(basic)
	f.dir(r.url, "", "git.authtokensecret", "T")
	if seen := strings.Join(other.auths, ""); seen != "" || len(other.auths) == 0 {
		t.Errorf("the other server has seen %q in %d requests", seen, len(other.auths))
	}
}
