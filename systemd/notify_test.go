package systemd_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/systemd"
)

// environment is one that no other test sees.
func environment(vars map[string]string) systemd.Environment {
	return systemd.Environment{
		PID: 42,
		Get: func(name string) string { return vars[name] },
		Unset: func(name string) error {
			delete(vars, name)
			return nil
		},
	}
}

// manager listens as systemd does.
func manager(t *testing.T, name string) (*net.UnixConn, *systemd.Notifier) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	vars := map[string]string{"NOTIFY_SOCKET": name}
	n := systemd.NewNotifier(environment(vars))
	if len(vars) > 0 {
		t.Errorf("children would inherit %v", vars)
	}
	return conn, n
}

func TestNotifier(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "n"), "@kiln-test-" + strconv.FormatInt(time.Now().UnixNano(), 36)} {
		conn, n := manager(t, name)
		for _, tt := range []struct {
			say  func() error
			want string
		}{
			{n.Ready, `READY=1`},
			{func() error { return n.Status("2 builds\nrunning") }, `STATUS=2 builds running`},
			{n.Reloading, "RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*"},
			{func() error { return n.Extend(1500 * time.Millisecond) }, `EXTEND_TIMEOUT_USEC=1500000`},
			{n.Stopping, `STOPPING=1`},
		} {
			if err := tt.say(); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 200)
			k, err := conn.Read(buf)
			if err != nil || !regexp.MustCompile("^"+tt.want+"$").Match(buf[:k]) {
				t.Errorf("manager read %q, %v, want %q", buf[:k], err, tt.want)
			}
		}
	}
}

func TestNobodyListens(t *testing.T) {
	n := systemd.NewNotifier(environment(map[string]string{}))
	if n != nil || n.Ready() != nil || n.Reloading() != nil {
		t.Error("there is somebody")
	}
	_, gone := manager(t, filepath.Join(t.TempDir(), "n"))
	_ = gone
	lost := systemd.NewNotifier(environment(map[string]string{"NOTIFY_SOCKET": "/nonexistent/socket"}))
	if err := lost.Ready(); err == nil {
		t.Error("a socket that is not there was told")
	}
}

func TestWatchdogInterval(t *testing.T) {
	for _, tt := range []struct {
		pid, usec string
		want      time.Duration
	}{
		{"", "", 0}, {"", "2000000", 2 * time.Second}, {"42", "1000", time.Millisecond}, {"43", "1000", 0},
		{"", "-5", 0}, {"", "x", 0}, {"", "9223372036854775807", 0},
	} {
		if got := systemd.WatchdogInterval(environment(map[string]string{"WATCHDOG_PID": tt.pid, "WATCHDOG_USEC": tt.usec})); got != tt.want {
			t.Errorf("pid %q, usec %q: %v, want %v", tt.pid, tt.usec, got, tt.want)
		}
	}
}

// TestGuard checks that pings come while the service answers, and no longer.
func TestGuard(t *testing.T) {
	conn, n := manager(t, filepath.Join(t.TempDir(), "n"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const answers = 3
	asked, faults := 0, make(chan error, 100)
	go systemd.Guard(ctx, n, 2*time.Millisecond, func(context.Context) error {
		if asked++; asked > answers {
			return errors.New("stuck")
		}
		return nil
	}, func(err error) { faults <- err })
	buf := make([]byte, 100)
	for range answers {
		if k, err := conn.Read(buf); err != nil || string(buf[:k]) != "WATCHDOG=1" {
			t.Fatalf("manager read %q, %v", buf[:k], err)
		}
	}
	for range 3 {
		if err := <-faults; err.Error() != "stuck" {
			t.Error(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now())
	if k, err := conn.Read(buf); err == nil {
		t.Errorf("a stuck service sent %q", buf[:k])
	}
}
