package inode

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// open makes a directory with a link out of it and opens it.
func open(t *testing.T) (root string, outside string, fd int) {
	t.Helper()
	root, outside = t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("keep"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	fd, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return root, outside, fd
}

func TestNamesAreOneComponent(t *testing.T) {
	_, _, fd := open(t)
	for _, name := range []string{"", ".", "..", "a/b", "/etc", "a\x00b"} {
		if CheckName(name) == nil {
			t.Errorf("%q passes", name)
		}
		if _, err := OpenDir(fd, name); err == nil {
			t.Errorf("OpenDir takes %q", name)
		}
		if _, err := Lstat(fd, name); err == nil {
			t.Errorf("Lstat takes %q", name)
		}
		if RemoveAll(fd, name) == nil {
			t.Errorf("RemoveAll takes %q", name)
		}
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	root, outside, fd := open(t)
	if _, err := OpenDir(fd, "out"); !Missing(err) && !errors.Is(err, unix.ELOOP) {
		t.Error("OpenDir:", err)
	}
	if _, err := OpenPath(fd, "out/sub"); err == nil {
		t.Error("OpenPath went through a link")
	}
	if _, err := OpenFile(fd, "out"); !errors.Is(err, unix.ELOOP) {
		t.Error("OpenFile:", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "d/e"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "d/e/out")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "out", "not there"} {
		if err := RemoveAll(fd, name); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(outside, "f")); err != nil {
		t.Error("RemoveAll left the directory:", err)
	}
	if names, err := Names(fd); err != nil || len(names) != 0 {
		t.Error(names, err)
	}
}

func TestAttributes(t *testing.T) {
	root, _, fd := open(t)
	if err := os.WriteFile(filepath.Join(root, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	long := string(make([]byte, 2000))
	for name, value := range map[string]string{"f": long, "": "dir"} {
		if err := SetXattr(fd, name, "user.k", value); err != nil {
			t.Fatal(err)
		}
		got, ok, err := GetXattr(fd, name, "user.k")
		if err != nil || !ok || got != value {
			t.Errorf("%q: %d bytes, %v, %v", name, len(got), ok, err)
		}
		if keys, err := ListXattr(fd, name); err != nil || !slices.Contains(keys, "user.k") {
			t.Error(keys, err)
		}
	}
	if keys, err := ListXattr(fd, "out"); err != nil || len(keys) != 0 {
		t.Error("attributes of the link's target:", keys, err)
	}
	if _, ok, err := GetXattr(fd, "f", "user.none"); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestReadNoticesChange(t *testing.T) {
	root, _, fd := open(t)
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	st, err := Lstat(fd, "f")
	if err != nil {
		t.Fatal(err)
	}
	e := Describe("f", &st)
	if err := Read(fd, "f", e, nil); err != nil || e.Kind != layerindex.Regular || e.Size != 5 {
		t.Error(e, err)
	}
	if err := os.Truncate(filepath.Join(root, "f"), 3); err != nil {
		t.Fatal(err)
	}
	if err := Read(fd, "f", e, nil); err == nil {
		t.Error("a file that shrank was hashed")
	}
}

func TestNanosecondsSaturate(t *testing.T) {
	for _, c := range []struct{ sec, nsec, want int64 }{
		{1, 5, 1_000_000_005}, {-1, 5, -999_999_995}, {math.MaxInt64, 0, math.MaxInt64}, {math.MinInt64, 0, math.MinInt64},
	} {
		if got := Nanoseconds(c.sec, c.nsec); got != c.want {
			t.Errorf("%d s is %d", c.sec, got)
		}
	}
}
