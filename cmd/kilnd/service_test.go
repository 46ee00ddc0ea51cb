package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// passSockets makes cmd start with listening sockets, by name, as systemd does.
func passSockets(t *testing.T, cmd *exec.Cmd, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(); f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	// LISTEN_PID must name the process itself, which only the shell can know before it becomes the daemon.
	cmd.Args = append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, "LISTEN_FDS="+string(rune('0'+len(names))), "LISTEN_FDNAMES="+strings.Join(names, ":"))
}

// TestNamedSockets checks that each socket leads to its server, and that a
// daemon that nobody needs ends and leaves the sockets.
func TestNamedSockets(t *testing.T) {
	dir := t.TempDir()
	d := start(t, filepath.Join(dir, "root"), func(cmd *exec.Cmd) { passSockets(t, cmd, dir, "docker", "kilnd") },
		"--addr", "fd://kilnd", "--idle-stop", "200ms")
	d.told("READY=1")
	d.told("STATUS=idle")
	healthy(t, filepath.Join(dir, "kilnd"))
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "docker"))
	}
	docker := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := docker.Get("http://docker/_ping")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("ping: %v, %v", resp, err)
	}
	if err == nil {
		resp.Body.Close()
	}
	d.told("STOPPING=1")
	if err := d.Wait(); err != nil {
		t.Errorf("idle stop: %v", err)
	}
	for _, name := range []string{"docker", "kilnd"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("socket is gone: %v", err)
		}
	}
}

// TestMissingName checks that an address that nothing was passed for is an error that says what to do.
func TestMissingName(t *testing.T) {
	dir := t.TempDir()
	d := start(t, filepath.Join(dir, "root"), func(cmd *exec.Cmd) { passSockets(t, cmd, dir, "other") }, "--addr", "fd://kilnd")
	if err := d.Wait(); err == nil || !strings.Contains(d.stderr.String(), "FileDescriptorName=kilnd") {
		t.Errorf("%v: %s", err, d.stderr.String())
	}
}

// TestReloadIsTold checks what the manager hears around a hang-up.
func TestReloadIsTold(t *testing.T) {
	dir := t.TempDir()
	d := start(t, filepath.Join(dir, "root"), nil, "--addr", "unix://"+filepath.Join(dir, "s"), "--drain", "1m")
	d.told("STATUS=idle")
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	d.notify.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := d.notify.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "RELOADING=1\nMONOTONIC_USEC=") {
		t.Fatalf("manager was told %q, %v", buf[:n], err)
	}
	d.told("READY=1")
	// Nothing runs, so that a drain ends at once.
	d.Process.Signal(syscall.SIGTERM)
	d.told("STOPPING=1")
	if err := d.Wait(); err != nil {
		t.Error(err)
	}
}
