package diff

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// put writes a dated file.
func put(t *testing.T, root, name, data string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	date(t, p)
}

// date gives a file the same odd time each time.
func date(t *testing.T, p string) {
	t.Helper()
	when := time.Unix(1_600_000_000, 123)
	if err := os.Chtimes(p, when, when); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, p, key, value string) {
	t.Helper()
	if err := unix.Lsetxattr(p, key, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

func whiteout(t *testing.T, p string) {
	t.Helper()
	if err := unix.Mknod(p, unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
}

// layered makes a lower tree with a/b/f and a/g, and an empty upper directory
// that holds a.
func layered(t *testing.T) Pair {
	t.Helper()
	p := Pair{Upper: t.TempDir(), Lower: []string{t.TempDir()}, Layered: true}
	put(t, p.Lower[0], "a/b/f", "old")
	put(t, p.Lower[0], "a/g", "old")
	if err := os.Mkdir(filepath.Join(p.Upper, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// names lists what Write makes of a pair.
func names(t *testing.T, p Pair, opts Options) ([]*tar.Header, *layerindex.Index) {
	t.Helper()
	var b bytes.Buffer
	x, err := Write(t.Context(), &b, p, opts)
	if err != nil {
		t.Fatal(err)
	}
	var out []*tar.Header
	for tr := tar.NewReader(&b); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, x
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, hdr)
	}
}

func list(headers []*tar.Header) string {
	var out []string
	for _, h := range headers {
		out = append(out, h.Name)
	}
	return strings.Join(out, " ")
}

func TestLayeredChanges(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(t *testing.T, up string)
		want string
	}{
		{"nothing", func(*testing.T, string) {}, ""},
		{"new file", func(t *testing.T, up string) { put(t, up, "a/b/n", "x") }, "a/ a/b/ a/b/n"},
		{"untouched copy", func(t *testing.T, up string) { put(t, up, "a/g", "old") }, ""},
		{"rewritten under the same time", func(t *testing.T, up string) { put(t, up, "a/g", "new") }, "a/ a/g"},
		{"deleted", func(t *testing.T, up string) { whiteout(t, filepath.Join(up, "a/g")) }, "a/ a/.wh.g"},
		{"whiteout of nothing", func(t *testing.T, up string) { whiteout(t, filepath.Join(up, "a/zzz")) }, ""},
		{"whiteout by attribute", func(t *testing.T, up string) {
			put(t, up, "a/g", "")
			set(t, filepath.Join(up, "a/g"), "trusted.overlay.whiteout", "y")
			set(t, filepath.Join(up, "a"), "trusted.overlay.opaque", "x")
		}, "a/ a/.wh.g"},
		{"opaque", func(t *testing.T, up string) {
			put(t, up, "a/n", "x")
			set(t, filepath.Join(up, "a"), "trusted.overlay.opaque", "y")
		}, "a/ a/.wh.b a/.wh.g a/n"},
		{"opaque in the other name space", func(t *testing.T, up string) {
			put(t, up, "a/n", "x")
			set(t, filepath.Join(up, "a"), "user.overlay.opaque", "y")
		}, "a/ a/n"},
		{"mode of a directory", func(t *testing.T, up string) {
			if err := os.Chmod(filepath.Join(up, "a"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "a/"},
		{"new link to an old file", func(t *testing.T, up string) {
			put(t, up, "a/g", "old")
			if err := os.MkdirAll(filepath.Join(up, "z/y"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(filepath.Join(up, "a/g"), filepath.Join(up, "z/y/l")); err != nil {
				t.Fatal(err)
			}
		}, "z/ z/y/ z/y/l a/ a/g"},
		{"order", func(t *testing.T, up string) {
			for _, n := range []string{"x/f", "x-y", "x.z", "x/-"} {
				put(t, up, n, "1")
			}
		}, "x/ x/- x/f x-y x.z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := layered(t)
			c.edit(t, p.Upper)
			headers, _ := names(t, p, Options{})
			if got := list(headers); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatOnlyTheKernelResolves(t *testing.T) {
	for name, edit := range map[string]func(t *testing.T, p Pair){
		"redirect": func(t *testing.T, p Pair) { set(t, filepath.Join(p.Upper, "a"), "trusted.overlay.redirect", "/q") },
		"metacopy": func(t *testing.T, p Pair) {
			put(t, p.Upper, "a/n", "123")
			set(t, filepath.Join(p.Upper, "a/n"), "trusted.overlay.metacopy", "")
		},
	} {
		p := layered(t)
		edit(t, p)
		if _, err := Write(t.Context(), io.Discard, p, Options{}); !errors.Is(err, ErrNeedsMount) {
			t.Errorf("%s: Write answers %v", name, err)
		}
		if _, err := Index(t.Context(), p.Upper, false); !errors.Is(err, ErrNeedsMount) {
			t.Errorf("%s: Index answers %v", name, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	p := layered(t)
	put(t, p.Upper, "n", "x")
	set(t, filepath.Join(p.Upper, "n"), "user.k", "v")
	set(t, filepath.Join(p.Upper, "n"), "user.odd=key", "v")
	set(t, filepath.Join(p.Upper, "n"), "trusted.overlay.origin", "o")
	for _, keep := range []bool{false, true} {
		headers, x := names(t, p, Options{UserXattrs: keep})
		h := headers[len(headers)-1]
		if _, has := h.PAXRecords[paxXattr+"user.k"]; has != keep || len(h.PAXRecords) > 1 {
			t.Errorf("keep %v: records %q", keep, h.PAXRecords)
		}
		want := []layerindex.Xattr{{Key: "user.k", Value: "v"}, {Key: "user.odd=key", Value: "v"}}
		if got := x.Lookup("n").Xattrs; !slices.Equal(got, want) {
			t.Errorf("index has %q", got)
		}
	}
}

func TestEpochClamps(t *testing.T) {
	p := layered(t)
	put(t, p.Upper, "n", "x")
	epoch := time.Unix(1_500_000_000, 0)
	headers, x := names(t, p, Options{Epoch: &epoch})
	if h := headers[len(headers)-1]; !h.ModTime.Equal(epoch) || !x.Lookup("n").Time().Equal(epoch) {
		t.Errorf("tar has %s, index %s", h.ModTime, x.Lookup("n").Time())
	}
}

func TestIndexEqualsWriteForANewTree(t *testing.T) {
	root := t.TempDir()
	for i := range 200 {
		put(t, root, fmt.Sprintf("d%d/f%d", i%7, i), strings.Repeat("x", i*100))
	}
	if err := os.Link(filepath.Join(root, "d0/f0"), filepath.Join(root, "d1/link")); err != nil {
		t.Fatal(err)
	}
	_, written := names(t, Pair{Upper: root}, Options{})
	read, err := Index(t.Context(), root, false)
	if err != nil {
		t.Fatal(err)
	}
	if written.Len() != read.Len() {
		t.Fatalf("%d and %d entries", written.Len(), read.Len())
	}
	for i, e := range read.Entries() {
		w := written.Entries()[i]
		if e.Path != w.Path || e.Digest != w.Digest || e.Content != w.Content || e.LinkName != w.LinkName {
			t.Errorf("%s differs from %s", e.Path, w.Path)
		}
	}
}

func TestIndexReportsUnreadable(t *testing.T) {
	if _, err := Index(t.Context(), filepath.Join(t.TempDir(), "nope"), false); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
