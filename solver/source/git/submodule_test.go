package git

import (
	"os"
	"strings"
	"testing"
)

func TestSubmodules(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	inner := s.repo("group/inner.git")
	innerOne := inner.commit(map[string]string{"i": "inner"})
	lib := s.repo("group/lib.git")
	lib.commit(map[string]string{"l": "lib", "deep/x": "x"})
	lib.addModule("inner", "in/ner", "../inner.git", innerOne)
	libOne := lib.git("rev-parse", "HEAD")
	lib.commit(map[string]string{"l": "newer"})
	r := s.repo("group/r.git")
	r.commit(map[string]string{"f": "1", "sub/g": "2"})
	r.addModule("li/b", "sub/lib", lib.url, libOne)
	r.addModule("left out", "none", lib.url, libOne)
	r.git("config", "-f", ".gitmodules", "submodule.left out.update", "none")
	r.git("add", ".gitmodules")
	r.git("commit", "--quiet", "-m", "x")
	f := newFixture(t)
	modules := func(text string) string {
		var out []string
		for line := range strings.SplitSeq(text, "\n") {
			if !strings.Contains(line, ".gitmodules") {
				out = append(out, line)
			}
		}
		return strings.Join(out, "\n")
	}
	want := strings.Join([]string{
		`-rw-r--r-- f "1"`, `-rw-r--r-- sub/g "2"`, `-rw-r--r-- sub/lib/deep/x "x"`, `-rw-r--r-- sub/lib/in/ner/i "inner"`,
		`-rw-r--r-- sub/lib/l "lib"`, `drwxr-xr-x none`, `drwxr-xr-x sub`, `drwxr-xr-x sub/lib`, `drwxr-xr-x sub/lib/deep`,
		`drwxr-xr-x sub/lib/in`, `drwxr-xr-x sub/lib/in/ner`,
	}, "\n")
	equal(t, "tree", modules(listing(t, f.dir(r.url, ""))), want)
	kept := &repo{t: t, dir: f.dir(r.url, "", "git.keepgitdir", "true")}
	equal(t, "with .git", modules(listing(t, kept.dir)), want)
	equal(t, "status", kept.git("status", "--porcelain"), "")
	equal(t, "head of a submodule", kept.git("-C", "sub/lib", "rev-parse", "HEAD"), libOne)
	equal(t, "origin of a submodule", kept.git("-C", "sub/lib/in/ner", "remote", "get-url", "origin"), inner.url)
	skipped := modules(listing(t, f.dir(r.url, "", "git.skipsubmodules", "true")))
	equal(t, "without", skipped, strings.Join([]string{`-rw-r--r-- f "1"`, `-rw-r--r-- sub/g "2"`, `drwxr-xr-x none`, `drwxr-xr-x sub`, `drwxr-xr-x sub/lib`}, "\n"))
	equal(t, "subdir with a submodule", modules(listing(t, f.dir(r.url, "#:sub"))), strings.Join([]string{
		`-rw-r--r-- g "2"`, `-rw-r--r-- lib/deep/x "x"`, `-rw-r--r-- lib/in/ner/i "inner"`, `-rw-r--r-- lib/l "lib"`,
		`drwxr-xr-x lib`, `drwxr-xr-x lib/deep`, `drwxr-xr-x lib/in`, `drwxr-xr-x lib/in/ner`,
	}, "\n"))
	equal(t, "subdir in a submodule", listing(t, f.dir(r.url, "#:sub/lib/deep")), `-rw-r--r-- x "x"`)
	equal(t, "subdir is a submodule", listing(t, f.dir(r.url, "#:sub/lib/in/ner")), `-rw-r--r-- i "inner"`)
}

// TestSubmoduleOfItself checks that no lock is waited for by its holder, and
// that repositories that contain themselves come to an end.
func TestSubmoduleOfItself(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	one := r.commit(map[string]string{"f": "1"})
	r.addModule("me", "me", "./", one)
	f := newFixture(t)
	equal(t, "itself", strings.Join(strings.Split(listing(t, f.dir(r.url, "#:me")), "\n"), "\n"), `-rw-r--r-- f "1"`)
}

func TestHostileSubmodules(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	lib := s.repo("lib.git")
	one := lib.commit(map[string]string{"l": "lib"})
	f := newFixture(t)
	for name, url := range map[string]string{
		"file": "file:///etc", "path": "/etc", "ext": "ext::sh -c id", "option": "-u./payload", "above": "../../../../x",
		"host": "ssh://-oProxyCommand=id/x", "scp": "-oProxyCommand=id@h:x", "password": "ftp://me:hunter2@h/x",
	} {
		r := s.repo(name + ".git")
		r.commit(map[string]string{"f": "1"})
		r.addModule("m", "sub", url, one)
		_, _, err := f.get(r.url, "")
		if err == nil || !strings.Contains(err.Error(), `submodule "m" has URL`) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A path that is not one of the commit, or that leads out, is not used.
	for name, path := range map[string]string{"out": "../out", "abs": "/tmp/x", "git": ".git/hooks", "other": "f"} {
		r := s.repo("p" + name + ".git")
		r.commit(map[string]string{"f": "1"})
		r.git("config", "-f", ".gitmodules", "submodule.m.path", path)
		r.git("config", "-f", ".gitmodules", "submodule.m.url", lib.url)
		r.git("add", "-A")
		r.git("commit", "--quiet", "-m", "m")
		if text := listing(t, f.dir(r.url, "")); !strings.Contains(text, `f "1"`) || strings.Contains(text, "lib") && !strings.Contains(text, ".gitmodules") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// TestHostileTrees has trees that git itself would not make.
func TestHostileTrees(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := newFixture(t)
	for name, entry := range map[string]string{
		"dotgit": "040000 tree %t\t.git", "dotdot": "040000 tree %t\t..", "case": "040000 tree %t\t.GIT", "ntfs": "040000 tree %t\tgit~1",
		"link": "120000 blob %b\t.gitmodules",
	} {
		r := s.repo(name + ".git")
		r.commit(map[string]string{"x/config": "[core]\n", "target": "/etc/passwd"})
		entry = strings.NewReplacer("%t", r.git("rev-parse", "HEAD:x"), "%b", r.git("rev-parse", "HEAD:target")).Replace(entry)
		tree := r.pipe(entry+"\n", "mktree")
		r.git("update-ref", "refs/heads/main", r.git("commit-tree", "-m", "m", tree))
		for _, attrs := range [][]string{nil, {"git.keepgitdir", "true"}} {
			if _, got, err := f.get(r.url, "", attrs...); err == nil || !strings.Contains(err.Error(), "failed to checkout") {
				t.Errorf("%s: %v %v", name, got, err)
			}
		}
	}
	if left, err := os.ReadDir(f.source.tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestParseModules(t *testing.T) {
	t.Parallel()
	got, err := parseModules("submodule.a.path\nx/y/\x00submodule.a.url\nu\x00submodule.b.c.path\nz\x00submodule.b.c.url\nv\x00" +
		"submodule.b.c.update\nnone\x00other.key\n1\x00submodule.noturl.path\nq\x00submodule.out.path\n../q\x00submodule.out.url\nw\x00novalue")
	if err != nil || len(got) != 2 || got["x/y"] != (module{name: "a", path: "x/y", url: "u"}) || got["z"] != (module{name: "b.c", path: "z", url: "v", skip: true}) {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := parseModules(strings.Repeat("submodule.a.path\nx\x00", 3)); err != nil {
		t.Error(err)
	}
}

func FuzzParseModules(f *testing.F) {
	f.Add("submodule.a.path\nx\x00submodule.a.url\nu\x00")
	f.Fuzz(func(t *testing.T, s string) {
		mods, err := parseModules(s)
		for p := range mods {
			if err != nil || strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") {
				t.Errorf("path %q, %v", p, err)
			}
		}
	})
}
