package git

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenModes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"d/f": "1", "l": "->/etc/passwd"})
	f := newFixture(t)
	key, got, err := f.get(r.url, "", "git.openmodes", "true")
	if err != nil || !strings.HasSuffix(key, "(openmodes)") {
		t.Fatalf("%q %v", key, err)
	}
	dir := f.Dir(t, got)
	if info, err := os.Lstat(filepath.Join(dir, "d/f")); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("file: %v %v", info.Mode(), err)
	}
	if info, err := os.Stat("/etc/passwd"); err != nil || info.Mode().Perm() == 0o666 {
		t.Error("a link's target can be written by everybody")
	}
	if info, err := os.Lstat(filepath.Join(f.dir(r.url, ""), "d/f")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("file of another checkout: %v %v", info.Mode(), err)
	}
}
