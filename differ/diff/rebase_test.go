package diff

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// rebased describes one layer over what layered makes, a/b/f and a/g.
var rebased = []struct {
	name string
	edit func(t *testing.T, p Pair)
	// portable as it is, and the names of the portable form.
	portable bool
	want     []string
}{
	{"new file", func(t *testing.T, p Pair) { put(t, p.Upper, "n/f", "x") }, false, []string{"n", "n/f"}},
	{"file in a directory that is there", func(t *testing.T, p Pair) { put(t, p.Upper, "a/n", "x") }, true, []string{"a", "a/n"}},
	{"nothing but a directory that was copied up", func(*testing.T, Pair) {}, false, nil},
	{"directories that were copied up, one with a change", func(t *testing.T, p Pair) {
		mkdir(t, p.Upper, "a/b")
		put(t, p.Upper, "a/n", "x")
	}, false, []string{"a", "a/n"}},
	{"changed mode", func(t *testing.T, p Pair) { must(t, os.Chmod(filepath.Join(p.Upper, "a"), 0o700)) }, true, []string{"a"}},
	{"file renamed away and back", func(t *testing.T, p Pair) {
		put(t, p.Upper, "a/g", "old")
		put(t, p.Upper, "a/n", "x")
	}, false, []string{"a", "a/n"}},
	{"whiteout", func(t *testing.T, p Pair) { whiteout(t, filepath.Join(p.Upper, "a/g")) }, true, []string{"a", "-a/g"}},
	{"whiteout of nothing", func(t *testing.T, p Pair) {
		whiteout(t, filepath.Join(p.Upper, "a/never"))
		put(t, p.Upper, "a/n", "x")
	}, false, []string{"a", "a/n"}},
	{"opaque directory", func(t *testing.T, p Pair) {
		put(t, p.Upper, "a/n", "x")
		set(t, filepath.Join(p.Upper, "a"), "trusted.overlay.opaque", "y")
	}, false, []string{"a", "-a/b", "-a/g", "a/n"}},
	{"opaque directory that is new", func(t *testing.T, p Pair) {
		put(t, p.Upper, "n/f", "x")
		set(t, filepath.Join(p.Upper, "n"), "trusted.overlay.opaque", "y")
	}, false, []string{"n", "n/f"}},
	{"directory in place of a file", func(t *testing.T, p Pair) {
		put(t, p.Upper, "a/g/f", "x")
		set(t, filepath.Join(p.Upper, "a/g"), "trusted.overlay.opaque", "y")
	}, false, []string{"a", "a/g", "a/g/f"}},
	{"link to an old file", func(t *testing.T, p Pair) {
		put(t, p.Upper, "a/g", "old")
		mkdir(t, p.Upper, "z/y")
		must(t, os.Link(filepath.Join(p.Upper, "a/g"), filepath.Join(p.Upper, "z/y/l")))
	}, false, []string{"a", "a/g", "z", "z/y", "z/y/l"}},
	{"special files", func(t *testing.T, p Pair) {
		must(t, unix.Mkfifo(filepath.Join(p.Upper, "a/p"), 0o600))
		must(t, os.Symlink("/nowhere", filepath.Join(p.Upper, "a/s")))
	}, true, []string{"a", "a/p", "a/s"}},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, root, name string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(root, name), 0o755))
}

// TestRebase checks that the portable form has what it should, that it is found
// portable, and that its blob is the same as that of the layer.
func TestRebase(t *testing.T) {
	for _, c := range rebased {
		t.Run(c.name, func(t *testing.T) {
			p := layered(t)
			c.edit(t, p)
			// A directory that was copied up keeps the times it had, a changed one
			// gets new ones; both must come through.
			must(t, unix.Lsetxattr(filepath.Join(p.Upper, "a"), "user.k", []byte("v"), 0))
			date(t, filepath.Join(p.Upper, "a"))
			if ok, err := Portable(t.Context(), p); ok != c.portable || err != nil {
				t.Errorf("portable is %v, %v", ok, err)
			}
			to := p
			to.Upper = t.TempDir()
			must(t, Rebase(t.Context(), p, to.Upper))
			if got := contents(t, to.Upper); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if ok, err := Portable(t.Context(), to); !ok && c.name != "link to an old file" || err != nil {
				t.Errorf("the portable form is %v, %v", ok, err)
			}
			var before, after bytes.Buffer
			for buf, p := range map[*bytes.Buffer]Pair{&before: p, &after: to} {
				_, err := Write(context.Background(), buf, p, Options{UserXattrs: true})
				must(t, err)
			}
			if !bytes.Equal(before.Bytes(), after.Bytes()) {
				t.Error("the blob of the portable form is another one")
			}
		})
	}
}

// contents lists names below root, whiteouts with a minus. No opaque directory
// may be left, and what holds a whiteout must say so to overlayfs.
func contents(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		var value [8]byte
		if _, err := unix.Lgetxattr(path, "trusted.overlay.opaque", value[:]); err == nil {
			t.Errorf("%s is opaque", name)
		}
		if d.Type()&os.ModeCharDevice != 0 {
			name = "-" + name
			if _, err := unix.Lgetxattr(filepath.Dir(path), "trusted.overlay.origin", value[:]); err != nil {
				t.Errorf("%s: %v", filepath.Dir(path), err)
			}
		}
		out = append(out, name)
		return nil
	}))
	slices.SortFunc(out, func(a, b string) int { return cmpPaths(a, b) })
	return out
}

// cmpPaths orders paths without the marks of whiteouts.
func cmpPaths(a, b string) int {
	trim := func(s string) string {
		if s[0] == '-' {
			return s[1:]
		}
		return s
	}
	return bytes.Compare([]byte(trim(a)), []byte(trim(b)))
}

func TestRebaseNeedsAMount(t *testing.T) {
	p := layered(t)
	set(t, filepath.Join(p.Upper, "a"), "trusted.overlay.redirect", "/q")
	if _, err := Portable(t.Context(), p); err == nil {
		t.Error("no error of Portable")
	}
	if err := Rebase(t.Context(), p, t.TempDir()); err == nil {
		t.Error("no error of Rebase")
	}
}
