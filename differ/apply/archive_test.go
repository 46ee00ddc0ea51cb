package apply

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// when dates the entries of test archives.
var when = time.Unix(1_600_000_000, 0)

// file, dir, sym, link and dev are headers of test archives.
func file(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: when}
}

func dir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when}
}

func sym(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink, Mode: 0o777, ModTime: when}
}

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink, Mode: 0o644, ModTime: when}
}

func dev(name string, major, minor int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeChar, Mode: 0o600, Devmajor: major, Devminor: minor, ModTime: when}
}

// archive writes headers; regular files that are no markers hold "data".
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, hdr := range headers {
		data := ""
		if hdr.Typeflag == tar.TypeReg && !isMarker(filepath.Base(hdr.Name)) {
			data = "data"
		}
		hdr.Size = int64(len(data))
		if err := tw.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		tw.Write([]byte(data))
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bed is a place to apply layers to, with a file outside that nobody may touch.
type bed struct {
	t       testing.TB
	top     string
	root    string // the tree, or the upper directory
	lower   string
	outside string
}

// newBed makes root with what the lower layer holds: in a tree these files are in
// root itself, else in a lower directory.
func newBed(t testing.TB, layered bool, lower func(dir string)) *bed {
	t.Helper()
	top := t.TempDir()
	b := &bed{t: t, top: top, root: filepath.Join(top, "root"), lower: filepath.Join(top, "lower"), outside: filepath.Join(top, "outside")}
	for _, d := range []string{b.root, b.lower, b.outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lower != nil {
		if layered {
			lower(b.lower)
		} else {
			lower(b.root)
		}
	}
	return b
}

func (b *bed) target(layered bool) Target {
	if layered {
		return Target{Dir: b.root, Layered: true, Lower: []string{b.lower}}
	}
	return Target{Dir: b.root}
}

// view calls fn with the tree as a container sees it.
func (b *bed) view(layered bool, fn func(root string)) {
	b.t.Helper()
	if !layered {
		fn(b.root)
		return
	}
	work, merged := filepath.Join(b.top, "work"), filepath.Join(b.top, "merged")
	for _, d := range []string{work, merged} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	options := "index=off,lowerdir=" + b.lower + ",upperdir=" + b.root + ",workdir=" + work
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		b.t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(merged, 0); err != nil {
			b.t.Error(err)
		}
	}()
	fn(merged)
}

// untouched fails if anything outside root changed.
func (b *bed) untouched() {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.outside, "secret"))
	if err != nil || string(data) != "secret" {
		b.t.Errorf("the file outside is now %q, %v", data, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(b.outside, "secret"), &st); err != nil || st.Mode&0o777 != 0o600 || st.Nlink != 1 {
		b.t.Errorf("the file outside has mode %o and %d links, %v", st.Mode, st.Nlink, err)
	}
	for _, d := range []string{b.top, b.outside} {
		list, err := os.ReadDir(d)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, e := range list {
			switch e.Name() {
			case "root", "lower", "outside", "secret", "work", "merged":
			default:
				b.t.Errorf("%s was made in %s", e.Name(), d)
			}
		}
	}
}

// put writes a file with its parents.
func put(t testing.TB, root, name, data string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}
