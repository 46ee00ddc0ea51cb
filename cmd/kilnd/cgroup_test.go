package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestOwnGroup(t *testing.T) {
	for _, tt := range []struct {
		text, path string
		unified    bool
	}{
		{"0::/system.slice/kiln.service\n", "/system.slice/kiln.service", true},
		{"4:memory:/a\n1:name=systemd:/system.slice/kiln.service\n0::/b\n", "/system.slice/kiln.service", false},
		{"", "", false},
	} {
		file := filepath.Join(t.TempDir(), "cgroup")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		path, unified, err := ownGroup(file)
		if err != nil || path != tt.path || unified != tt.unified {
			t.Errorf("%q: %q, %v, %v", tt.text, path, unified, err)
		}
	}
}

// TestMakeRoom moves a process in a hierarchy of the second version, which a
// machine has even where its controllers are those of the first.
func TestMakeRoom(t *testing.T) {
	top := cgroupRoot
	if _, err := os.Stat(filepath.Join(top, "unified/cgroup.procs")); err == nil {
		top = filepath.Join(top, "unified")
	}
	dir := filepath.Join(top, "kiln-room-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
		for range 50 { // The kernel may need a moment to see that they are empty.
			_ = os.Remove(filepath.Join(dir, "daemon"))
			if os.Remove(dir) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s is left", dir)
	})
	pid := strconv.Itoa(sleep.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := makeRoom(dir); err != nil {
			t.Fatal(err)
		}
	}
	above, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	below, _ := os.ReadFile(filepath.Join(dir, "daemon/cgroup.procs"))
	if len(above) != 0 || strings.TrimSpace(string(below)) != pid {
		t.Errorf("above %q, below %q, want %s", above, below, pid)
	}
}
