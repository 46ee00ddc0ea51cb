package apply

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/differ/diff"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// tree lists a directory: "path" for directories with a slash, "path=data" for
// files, "path>target" for links.
func treeOf(t testing.TB, root string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel := p[len(root)+1:]
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			rel += ">" + target
		case d.Type() == 0:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel += "=" + string(data)
		}
		out = append(out, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// TestLayerSemantics checks what a container sees after a layer was applied,
// which must not depend on the kind of target.
func TestLayerSemantics(t *testing.T) {
	lower := func(t *testing.T) func(string) {
		return func(root string) {
			put(t, root, "d/x", "low")
			put(t, root, "d/sub/y", "low")
			put(t, root, "usr/lib/z", "low")
			put(t, root, "f", "low")
			if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil {
				t.Fatal(err)
			}
		}
	}
	const (
		rest  = "f=low lib>usr/lib usr/ usr/lib/ usr/lib/z=low"
		whole = "d/ d/sub/ d/sub/y=low d/x=low "
	)
	for _, c := range []struct {
		name    string
		headers []tar.Header
		want    string
	}{
		{"nothing", nil, whole + rest},
		{"file without its parents", []tar.Header{file("d/sub/new")}, "d/ d/sub/ d/sub/new=data d/sub/y=low d/x=low " + rest},
		{"through a lower link", []tar.Header{file("lib/new")}, whole + "f=low lib>usr/lib usr/ usr/lib/ usr/lib/new=data usr/lib/z=low"},
		{"directory in place of a lower link", []tar.Header{dir("lib"), file("lib/new")}, whole + "f=low lib/ lib/new=data usr/ usr/lib/ usr/lib/z=low"},
		{"parent in place of a file", []tar.Header{file("f/new")}, whole + "f/ f/new=data lib>usr/lib usr/ usr/lib/ usr/lib/z=low"},
		{"whiteout of a file", []tar.Header{file("d/.wh.x")}, "d/ d/sub/ d/sub/y=low " + rest},
		{"whiteout of a tree", []tar.Header{file(".wh.d")}, rest},
		{"whiteout then directory", []tar.Header{file(".wh.d"), dir("d"), file("d/n")}, "d/ d/n=data " + rest},
		{"directory then whiteout", []tar.Header{dir("d"), file("d/n"), file(".wh.d")}, "d/ d/n=data " + rest},
		{"file below then whiteout", []tar.Header{file("d/sub/n"), file(".wh.d")}, "d/ d/sub/ d/sub/n=data " + rest},
		{"whiteout of an own file", []tar.Header{file("f"), file(".wh.f")}, whole + "f=data lib>usr/lib usr/ usr/lib/ usr/lib/z=low"},
		{"opaque first", []tar.Header{dir("d"), file("d/.wh..wh..opq"), file("d/n")}, "d/ d/n=data " + rest},
		{"opaque last", []tar.Header{dir("d"), file("d/n"), file("d/.wh..wh..opq")}, "d/ d/n=data " + rest},
		{"opaque without entry", []tar.Header{file("d/.wh..wh..opq")}, "d/ " + rest},
		{"opaque keeps own depths", []tar.Header{file("d/sub/n"), file("d/.wh..wh..opq")}, "d/ d/sub/ d/sub/n=data " + rest},
		{"opaque root", []tar.Header{file("n"), dir("d"), file(".wh..wh..opq")}, "d/ n=data"},
		{"device 0:0 is a whiteout", []tar.Header{dev("f", 0, 0)}, whole + "lib>usr/lib usr/ usr/lib/ usr/lib/z=low"},
		{"link to a lower file", []tar.Header{link("d/ln", "d/sub/y")}, "d/ d/ln=low d/sub/ d/sub/y=low d/x=low " + rest},
		{"link through a lower link", []tar.Header{file("usr/lib/own"), link("ln", "lib/own")}, whole + "f=low lib>usr/lib ln=data usr/ usr/lib/ usr/lib/own=data usr/lib/z=low"},
		{"last entry wins", []tar.Header{sym("f", "a"), dir("f"), file("f/x"), file("f")}, whole + "f=data lib>usr/lib usr/ usr/lib/ usr/lib/z=low"},
		{"file then directory", []tar.Header{file("d"), dir("d")}, "d/ " + rest},
	} {
		for _, layered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, layered), func(t *testing.T) {
				b := newBed(t, layered, lower(t))
				x, err := Layer(t.Context(), bytes.NewReader(archive(t, c.headers...)), b.target(layered), LayerOptions{})
				if err != nil {
					t.Fatal(err)
				}
				b.view(layered, func(root string) {
					if got := treeOf(t, root); got != c.want {
						t.Errorf("got  %s\nwant %s", got, c.want)
					}
				})
				if !layered {
					return
				}
				disk, err := diff.Index(t.Context(), b.root, false)
				if err != nil {
					t.Fatal(err)
				}
				if !x.Equal(disk) {
					t.Errorf("index\n%s\non disk\n%s", summary(x), summary(disk))
				}
			})
		}
	}
}

func summary(x *layerindex.Index) string {
	var b strings.Builder
	for _, e := range x.Entries() {
		fmt.Fprintf(&b, "%s %s %o %d opaque %v link %q %d %d:%d %q %.8s %.8s\n", e.Path, e.Kind, e.Mode, e.Size, e.Opaque, e.LinkName, e.ModTime, e.UID, e.GID, e.Xattrs, e.Digest.Digest().Encoded(), e.Content.Digest().Encoded())
	}
	return b.String()
}

func TestLinkMetadataReachesAllNames(t *testing.T) {
	for _, layered := range []bool{false, true} {
		b := newBed(t, layered, nil)
		other := link("z", "a")
		other.Mode, other.Uid = 0o600, 7
		x, err := Layer(t.Context(), bytes.NewReader(archive(t, file("b"), link("a", "b"), other)), b.target(layered), LayerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b", "z"} {
			e := x.Lookup(name)
			if e.Mode != 0o600 || e.UID != 7 || e.Digest != x.Lookup("a").Digest {
				t.Errorf("%s is %o of %d", name, e.Mode, e.UID)
			}
		}
		if x.Lookup("a").LinkName != "" || x.Lookup("b").LinkName != "a" || x.Lookup("z").LinkName != "a" {
			t.Error("links", x.Lookup("a").LinkName, x.Lookup("b").LinkName, x.Lookup("z").LinkName)
		}
	}
}

func TestMetadataOnDisk(t *testing.T) {
	root := t.TempDir()
	stamp := time.Unix(1_500_000_000, 123_456_789)
	suid := tar.Header{Name: "d/suid", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 12, Gid: 34, ModTime: stamp, Format: tar.FormatPAX,
		PAXRecords: map[string]string{paxXattr + "user.k": "v", paxXattr + "trusted.t": "no"}}
	d := tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o2770, Gid: 99, ModTime: stamp, Format: tar.FormatPAX}
	s := sym("d/s", "nowhere")
	s.Uid, s.ModTime, s.Format = 5, stamp, tar.FormatPAX
	deep := strings.Repeat("deep/", 40) + "name-" + strings.Repeat("n", 100)
	if err := Extract(t.Context(), bytes.NewReader(archive(t, d, suid, s, file(deep), dev("d/null", 1, 3))), root, Options{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]unix.Stat_t{
		"d":      {Mode: unix.S_IFDIR | 0o2770, Gid: 99},
		"d/suid": {Mode: unix.S_IFREG | 0o6755, Uid: 12, Gid: 34},
		"d/s":    {Mode: unix.S_IFLNK | 0o777, Uid: 5},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode != want.Mode || st.Uid != want.Uid || st.Gid != want.Gid || st.Mtim.Nsec != 123_456_789 {
			t.Errorf("%s: mode %o owner %d:%d nsec %d", name, st.Mode, st.Uid, st.Gid, st.Mtim.Nsec)
		}
	}
	var buf [8]byte
	if n, err := unix.Lgetxattr(filepath.Join(root, "d/suid"), "user.k", buf[:]); err != nil || string(buf[:n]) != "v" {
		t.Error("user attribute", err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(root, "d/suid"), "trusted.t", buf[:]); !errors.Is(err, unix.ENODATA) {
		t.Error("trusted attribute", err)
	}
	if _, err := os.Stat(filepath.Join(root, deep)); err != nil {
		t.Error(err)
	}
}

func TestExtractOptions(t *testing.T) {
	root := t.TempDir()
	owned := file(".wh.kept")
	owned.Uid = 77
	top := tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711, ModTime: when}
	opts := Options{Owner: &Owner{UID: 1000, GID: 2000}}
	put(t, root, "dir/old", "old")
	if err := Extract(t.Context(), bytes.NewReader(archive(t, top, owned, file("new/f"), dir("dir"))), root, opts); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{".wh.kept": 0o644, "new": 0o755, "new/f": 0o644, "": 0o711, "dir": 0o755} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != 1000 || st.Gid != 2000 || st.Mode&0o7777 != mode {
			t.Errorf("%q: %d:%d %o", name, st.Uid, st.Gid, st.Mode)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "dir/old")); err != nil {
		t.Error("an existing directory was not merged:", err)
	}
	if err := Extract(t.Context(), bytes.NewReader(archive(t, file("new/f/below"))), root, Options{}); !errors.Is(err, unix.ENOTDIR) {
		t.Error("a file served as a directory:", err)
	}
	handle, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if err := ExtractTo(t.Context(), bytes.NewReader(archive(t, file("by-handle"))), handle, Options{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "by-handle")); err != nil {
		t.Error(err)
	}
}
