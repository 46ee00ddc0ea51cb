package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// children lists the states of a process's children by pid.
func children(t *testing.T, pid int) map[int]string {
	t.Helper()
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	for _, field := range strings.Fields(string(list)) {
		child, _ := strconv.Atoi(field)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil {
			continue // It is gone.
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		out[child] = rest[:1]
	}
	return out
}

// TestFirstProcess: as the first process of a container, kilnd takes those that
// lose their parents, passes signals on, and exits as the daemon did.
func TestFirstProcess(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "kilnd.sock")
	d := start(t, filepath.Join(dir, "root"), func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	}, "--addr", "unix://"+socket)
	d.told("READY=1")
	healthy(t, socket)
	if n := len(children(t, d.Process.Pid)); n != 1 {
		t.Fatalf("%d children", n)
	}
	orphans := exec.Command("nsenter", "-p", "-t", strconv.Itoa(d.Process.Pid), "sh", "-c", "for i in 1 2 3; do sleep 0.2 & done; sleep 0.4 & exit 0")
	if out, err := orphans.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left := children(t, d.Process.Pid); len(left) == 1 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("children %v", left)
		}
	}
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	wrong := start(t, filepath.Join(dir, "root"), func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	}, "--addr", "nonsense://")
	if err := wrong.Wait(); wrong.ProcessState.ExitCode() != 1 {
		t.Errorf("a daemon that fails: %v", err)
	}
}
