package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/test/fixtures"
)

// patience bounds every wait; test machines are busy.
const patience = 60 * time.Second

// machine is a booted Debian.
type machine struct {
	t    *testing.T
	root string
	// leader is its process 1, as this machine counts.
	leader int
}

// boot starts a machine that ends with the test.
func boot(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	if err := unix.Mount("tmpfs", m.root, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(m.root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if out, err := exec.Command("tar", "-C", m.root, "-xf", fixtures.Machine(t)).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	name := fmt.Sprintf("kiln-test-%d", os.Getpid())
	cmd := exec.Command("./boot.sh", m.root, name)
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // Its child dies with it.
		<-ended
		m.removeGroups(name)
	})
	m.until("systemd runs", func() bool {
		select {
		case <-ended:
			t.Fatalf("the machine ended: %s", log)
		default:
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil || len(strings.Fields(string(children))) == 0 {
			return false
		}
		m.leader, _ = strconv.Atoi(strings.Fields(string(children))[0])
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.leader))
		if strings.TrimSpace(string(comm)) != "systemd" {
			return false
		}
		// A unit that does not fit into a container is no reason to fail.
		state, _ := m.try("systemctl", "is-system-running")
		return strings.Contains(state, "running") || strings.Contains(state, "degraded")
	})
	return m
}

// removeGroups removes the cgroups of the machine when its last process is gone.
func (m *machine) removeGroups(name string) {
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, top := range append(tops, "/sys/fs/cgroup/"+name) {
		m.until("cgroups are gone", func() bool {
			var dirs []string
			_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			var err error
			for i := len(dirs) - 1; i >= 0; i-- {
				err = errors.Join(err, os.Remove(dirs[i]))
			}
			return err == nil
		})
	}
}

// command prepares a program inside the machine.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(m.leader), "-a", "--",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"DOCKER_HOST=unix:///run/kiln/docker.sock", "BUILDKIT_PROGRESS=plain"}, args...)...)
}

// try runs a program inside the machine.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), patience)
	defer cancel()
	out, err := m.command(ctx, args...).CombinedOutput()
	return string(out), err
}

// run is try that must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// show returns a property of a unit.
func (m *machine) show(unit, property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--value", "-p", property, unit))
}

// until waits for something.
func (m *machine) until(what string, ok func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("%s: not after %s", what, patience)
		}
	}
}

// write puts a file into the machine.
func (m *machine) write(path, text string, mode fs.FileMode) {
	m.t.Helper()
	// The root as the machine sees it: what is mounted there counts.
	full := filepath.Join(fmt.Sprintf("/proc/%d/root", m.leader), path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), mode)); err != nil {
		m.t.Fatal(err)
	}
}

// copy puts a file of this machine into the other.
func (m *machine) copy(from, to string, mode fs.FileMode) {
	m.t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(to, string(content), mode)
}

// exists reports a file.
func (m *machine) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(fmt.Sprintf("/proc/%d/root", m.leader), path))
	return err == nil
}
