package systemd_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/test/fixtures"
)

// TestRPM installs, upgrades and erases the rpm in a tree, with its scripts.
func TestRPM(t *testing.T) {
	first, second := pack(t, "rpm", "0.0.1"), pack(t, "rpm", "0.0.2")
	root := t.TempDir()
	if out, err := exec.Command("tar", "-C", root, "-xf", fixtures.Machine(t)).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	at := func(path string) string { return filepath.Join(root, path) }
	// Scripts write to it, and the tree has no devices.
	if err := errors.Join(os.MkdirAll(at("dev"), 0o755), unix.Mknod(at("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"var/lib/buildkit/theirs", "etc/buildkit/buildkitd.toml", "var/lib/kiln/state"} {
		if err := os.MkdirAll(filepath.Dir(at(other)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(other), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rpm := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("rpm", append([]string{"--root", root}, args...)...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "warning: %") {
			t.Fatalf("rpm %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	// What it depends on is there as debs, of which rpm knows nothing.
	rpm("-i", "--nodeps", first)
	for _, path := range []string{
		"usr/bin/kilnd", "usr/lib/systemd/system/kiln.socket", "usr/share/man/man8/kilnd.8.gz", "usr/share/zsh/site-functions/_kiln",
		"etc/systemd/system/sockets.target.wants/kiln.socket",
	} {
		if _, err := os.Lstat(at(path)); err != nil {
			t.Error(err)
		}
	}
	if groups, _ := os.ReadFile(at("etc/group")); !strings.Contains(string(groups), "\nkiln:") {
		t.Errorf("groups:\n%s", groups)
	}

	if err := os.WriteFile(at("etc/kiln/kilnd.toml"), []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rpm("-U", "--nodeps", second)
	if v := rpm("-q", "kiln"); !strings.HasPrefix(v, "kiln-0.0.2-") {
		t.Errorf("after the upgrade: %s", v)
	}
	if mine, _ := os.ReadFile(at("etc/kiln/kilnd.toml")); string(mine) != "# mine\n" {
		t.Errorf("the configuration was overwritten: %s", mine)
	}
	if _, err := os.Lstat(at("etc/systemd/system/sockets.target.wants/kiln.socket")); err != nil {
		t.Errorf("the upgrade disabled the socket: %v", err)
	}

	files := strings.Fields(rpm("-ql", "kiln"))
	rpm("-e", "kiln")
	for _, path := range append(files, "/etc/systemd/system/sockets.target.wants/kiln.socket") {
		if fi, err := os.Lstat(at(path)); err == nil && !fi.IsDir() {
			t.Errorf("%s is left", path)
		}
	}
	for _, kept := range []string{"etc/kiln/kilnd.toml.rpmsave", "var/lib/kiln/state", "var/lib/buildkit/theirs", "etc/buildkit/buildkitd.toml"} {
		if _, err := os.Lstat(at(kept)); err != nil {
			t.Errorf("%s is gone", kept)
		}
	}
}
