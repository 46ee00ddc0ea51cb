package stateformat_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/plugin/stateformat"
)

// put writes a file in a new or old folder.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if kept, err := stateformat.Check(dir); err != nil || kept != "" {
			t.Fatal(kept, err)
		}
	}
	path := filepath.Join(dir, stateformat.Name)
	for _, tt := range []struct{ text, want string }{
		{"2\n", ""}, {"2", ""}, {"", ""}, {"1", ""},
		{"3\n", "newer version (format 3"}, {"0", "does not say"}, {"x", "does not say"}, {strings.Repeat("9", 1000), "does not say"},
	} {
		put(t, path, tt.text)
		_, err := stateformat.Check(dir)
		left, _ := os.ReadFile(path)
		if tt.want == "" {
			if err != nil || strings.TrimSpace(string(left)) != "2" {
				t.Errorf("%q: %v, %q is noted", tt.text, err, left)
			}
			continue
		}
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.10q: %v, want %s", tt.text, err, tt.want)
		}
		if string(left) != tt.text {
			t.Errorf("%.10q was overwritten", tt.text)
		}
	}
	if _, err := stateformat.Check(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is not there has a format")
	}
}

// TestCopyIsKept: before state of an older format is opened, there is a copy of
// all that the new one may change.
func TestCopyIsKept(t *testing.T) {
	for _, number := range []string{"1\n", "1"} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, stateformat.Name), number)
		files := map[string]string{"meta.db": "m", "cache.db": "c", "refs/refs.db": "r"}
		for name, text := range files {
			put(t, filepath.Join(dir, name), text)
		}
		put(t, filepath.Join(dir, "content/blobs/big.db"), "is no database")
		put(t, filepath.Join(dir, "format-1.new/half.db"), "of a try that was cut short")
		kept, err := stateformat.Check(dir)
		if err != nil || kept != filepath.Join(dir, "format-1") {
			t.Fatal(kept, err)
		}
		for name, text := range files {
			if got, err := os.ReadFile(filepath.Join(kept, name)); err != nil || string(got) != text {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		for _, none := range []string{"content", "half.db", "format-1.new"} {
			if _, err := os.Lstat(filepath.Join(kept, none)); err == nil {
				t.Errorf("%s was copied", none)
			}
		}
		if kept, err := stateformat.Check(dir); err != nil || kept != "" {
			t.Errorf("the second time: %q, %v", kept, err)
		}
	}
}

// TestCopyFails: without a copy nothing is changed.
func TestCopyFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateformat.Name)
	put(t, path, "1")
	put(t, filepath.Join(dir, "meta.db"), "m")
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if kept, err := stateformat.Check(dir); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("%q, %v", kept, err)
	}
	if left, _ := os.ReadFile(path); string(left) != "1" {
		t.Errorf("format %q", left)
	}
}

// TestForeignState: what has no number is new, or another builder's, of whose
// files no copy is made.
func TestForeignState(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "cache.db"), "theirs")
	if kept, err := stateformat.Check(dir); err != nil || kept != "" {
		t.Errorf("%q, %v", kept, err)
	}
	if left, err := os.ReadFile(filepath.Join(dir, "cache.db")); err != nil || string(left) != "theirs" {
		t.Errorf("%q, %v", left, err)
	}
}
