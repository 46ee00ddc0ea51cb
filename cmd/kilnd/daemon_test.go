package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// TestMain plays the daemon in the processes that the tests start.
func TestMain(m *testing.M) {
	if os.Getenv("KILND_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// daemonProcess is a running daemon and what it tells the service manager.
type daemonProcess struct {
	*exec.Cmd
	t      *testing.T
	stderr bytes.Buffer
	notify *net.UnixConn
}

// start runs the daemon on the given root; configure may change the command before it starts.
func start(t *testing.T, root string, configure func(*exec.Cmd), args ...string) *daemonProcess {
	t.Helper()
	notify := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemonProcess{t: t, notify: conn}
	d.Cmd = exec.Command(os.Args[0], append([]string{"--config", "/nonexistent", "--root", root}, args...)...)
	d.Env = append(os.Environ(), "KILND_TEST_MAIN=1", "NOTIFY_SOCKET="+notify)
	d.Stderr = &d.stderr
	if configure != nil {
		configure(d.Cmd)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Process.Kill()
		conn.Close()
		if t.Failed() {
			t.Logf("daemon said:\n%s", d.stderr.String())
		}
	})
	return d
}

// told waits for a message to the service manager, over other messages.
func (d *daemonProcess) told(want string) {
	d.t.Helper()
	buf := make([]byte, 1024)
	d.notify.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		n, err := d.notify.Read(buf)
		if err != nil {
			d.t.Fatalf("service manager was not told %q: %v", want, err)
		}
		if string(buf[:n]) == want {
			return
		}
	}
}

// healthy asks the daemon over its socket.
func healthy(t *testing.T, socket string) {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
}

func TestDaemon(t *testing.T) {
	dir := t.TempDir()
	root, socket := filepath.Join(dir, "root"), filepath.Join(dir, "kilnd.sock")
	d := start(t, root, nil, "--addr", "unix://"+socket)
	d.told("READY=1")
	healthy(t, socket)
	if _, err := os.Stat(filepath.Join(root, "run", "containerd.sock")); err != nil {
		t.Error(err)
	}

	second := start(t, root, nil, "--addr", "unix://"+socket+"2")
	err := second.Wait()
	if err == nil || second.ProcessState.ExitCode() != 1 ||
		!strings.HasPrefix(lastLine(second.stderr.String()), "kilnd: ") ||
		!strings.Contains(second.stderr.String(), "kilnd.lock, another instance running?") {
		t.Errorf("second daemon on the root: %v, %s", err, second.stderr.String())
	}

	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.told("STOPPING=1")
	if err := d.Wait(); err != nil {
		t.Errorf("orderly stop: %v", err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("socket is left: %v", err)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestKillAndRestart(t *testing.T) {
	dir := t.TempDir()
	root, socket := filepath.Join(dir, "root"), filepath.Join(dir, "kilnd.sock")
	for range 3 {
		d := start(t, root, nil, "--addr", "unix://"+socket)
		d.told("READY=1")
		healthy(t, socket)
		d.Process.Kill()
		d.Wait()
	}
}

// TestSocketActivation hands over a listening socket as systemd does.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "kilnd.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := start(t, filepath.Join(dir, "root"), func(cmd *exec.Cmd) {
		// LISTEN_PID must name the process itself, which only the shell can know before it becomes the daemon.
		cmd.Args = append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, cmd.Args...)
		cmd.Path = "/bin/sh"
		cmd.ExtraFiles = []*os.File{f}
		cmd.Env = append(cmd.Env, "LISTEN_FDS=1")
	}, "--addr", "fd://")
	d.told("READY=1")
	healthy(t, socket)
	d.Process.Signal(syscall.SIGTERM)
	d.told("STOPPING=1")
	if err := d.Wait(); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	for _, name := range []string{"kilnd", "buildkitd"} {
		cmd := command(programName("/usr/bin/" + name))
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs([]string{"--version"})
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(out.String())
		if len(fields) != 4 || fields[0] != name || !strings.HasPrefix(fields[2], "v") {
			t.Errorf("version line %q", out.String())
		}
	}
}

func TestSignals(t *testing.T) {
	signals := make(chan os.Signal)
	exited := make(chan int, 1)
	stop := watchSignals(t.Context(), signals, func(code int) { exited <- code })
	defer stop.end()
	signals <- syscall.SIGTERM
	<-stop.run.Done()
	if stop.shutdown.Err() != nil {
		t.Error("first signal already gave up waiting")
	}
	signals <- syscall.SIGINT
	<-stop.shutdown.Done()
	signals <- syscall.SIGTERM
	if code := <-exited; code != 1 {
		t.Errorf("third signal: exit %s", fmt.Sprint(code))
	}
}
