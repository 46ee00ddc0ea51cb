package systemd_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/systemd"
)

// listen opens a socket and serves it through the gate; connections go to the channel.
func listen(t *testing.T, g *systemd.Gate, held bool) (path string, accepted chan net.Conn, l net.Listener) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l = g.Wrap(inner, held)
	t.Cleanup(func() { l.Close() })
	accepted = make(chan net.Conn, 10)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	return path, accepted, l
}

// dial connects.
func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestGateHoldsClientsBack(t *testing.T) {
	var g systemd.Gate
	path, accepted, _ := listen(t, &g, true)
	dial(t, path)
	first := <-accepted
	if n, _ := g.Watch(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := g.Shut(); n != 1 {
		t.Errorf("shut with %d connections, want 1", n)
	}
	dial(t, path) // goes to the queue of the socket
	_, changed := g.Watch()
	first.Close()
	first.Close() // counts once
	<-changed
	if n, _ := g.Watch(); n != 0 {
		t.Errorf("%d connections after the last closed", n)
	}
	select {
	case <-accepted:
		t.Fatal("a connection came through a shut gate")
	default:
	}
	g.Open()
	if conn := <-accepted; conn == nil {
		t.Fatal("the client that waited was lost")
	}
}

// TestGateShutEndsWithClose checks that closing ends an Accept that waits at a shut gate.
func TestGateShutEndsWithClose(t *testing.T) {
	var g systemd.Gate
	_, accepted, l := listen(t, &g, true)
	g.Shut()
	l.Close()
	if _, more := <-accepted; more {
		t.Error("a connection came from nowhere")
	}
}

// TestGateOnlyCounts checks that a listener of one's own is not held.
func TestGateOnlyCounts(t *testing.T) {
	var g systemd.Gate
	path, accepted, _ := listen(t, &g, false)
	g.Shut()
	dial(t, path)
	if <-accepted == nil {
		t.Error("a client was held at a socket that nobody will accept from again")
	}
}

func TestGatePassesHalfClose(t *testing.T) {
	var g systemd.Gate
	path, accepted, _ := listen(t, &g, true)
	client := dial(t, path)
	conn := <-accepted
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v after the other side ended", n, err)
	}
}

// work is what WaitIdle asks for.
type work struct {
	n       int
	changed chan struct{}
}

func (w *work) watch() (int, <-chan struct{}) { return w.n, w.changed }

func TestWaitIdle(t *testing.T) {
	var g systemd.Gate
	path, accepted, _ := listen(t, &g, true)
	client := dial(t, path)
	server := <-accepted
	idle := make(chan error, 1)
	w := &work{changed: make(chan struct{})}
	go func() { idle <- systemd.WaitIdle(t.Context(), &g, 20*time.Millisecond, w.watch) }()
	select {
	case err := <-idle:
		t.Fatalf("idle with a client: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	client.Close()
	server.Close()
	if err := <-idle; err != nil {
		t.Fatal(err)
	}
	dial(t, path)
	select {
	case <-accepted:
		t.Error("a client came in after the end")
	case <-time.After(20 * time.Millisecond):
	}
}

func TestWaitIdleWhileThereIsWork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var g systemd.Gate
	w := &work{n: 1}
	if err := systemd.WaitIdle(ctx, &g, time.Millisecond, w.watch); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("idle with work: %v", err)
	}
}
