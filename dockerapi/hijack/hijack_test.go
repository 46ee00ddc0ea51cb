package hijack_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kilnbuild/kiln/dockerapi/hijack"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/session"
)

// door is an HTTP server with the endpoints, and a gRPC server behind it.
type door struct {
	socket   string
	sessions *session.Manager
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{socket: filepath.Join(t.TempDir(), "s"), sessions: session.NewManager()}
	listener := hijack.NewListener()
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	upgrades := hijack.New(hijack.Config{Sessions: d.sessions, GRPC: listener})
	mux := route.NewMux("test")
	upgrades.Register(mux)
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: upgrades.Direct(mux), ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { web.Close(); server.Stop() })
	return d
}

// upgrade sends a request, with more bytes at once behind it, and reads the
// status.
func (d *door) upgrade(t *testing.T, path, head, more string) (net.Conn, *http.Response, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", path, head, more); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, resp, r
}

const h2c = "Connection: Upgrade\r\nUpgrade: h2c\r\n"

func TestRefusals(t *testing.T) {
	d := newDoor(t)
	for _, tc := range []struct {
		path, head string
		status     int
		want       string
	}{
		{"/grpc", "", 500, "no upgrade proto in request"},
		{"/grpc", "Connection: Upgrade\r\nUpgrade: websocket\r\n", 500, "protocol websocket not supported"},
		{"/session", "", 400, "no upgrade proto in request"},
		{"/session", h2c, 400, "a session needs an id"},
	} {
		_, resp, _ := d.upgrade(t, tc.path, tc.head+"Content-Length: 0\r\n", "")
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != tc.status || !strings.Contains(string(body), tc.want) {
			t.Errorf("%s: %d %s, %v", tc.path, resp.StatusCode, body, err)
		}
	}
}

// check asks the gRPC server over a connection.
func check(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
	t.Helper()
	client, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resp, err := healthpb.NewHealthClient(client).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("the gRPC server says %v, %v", resp, err)
	}
}

func TestGRPC(t *testing.T) {
	d := newDoor(t)
	check(t, func(context.Context, string) (net.Conn, error) {
		conn, resp, _ := d.upgrade(t, "/grpc", h2c, "")
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "h2c" {
			t.Errorf("upgrade: %v", resp)
		}
		return conn, nil
	})
	check(t, func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	})
}

// TestEarlyBytes sends the beginning of HTTP/2 together with the upgrade.
func TestEarlyBytes(t *testing.T) {
	d := newDoor(t)
	_, resp, r := d.upgrade(t, "/grpc", h2c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	// A settings frame is the answer: nothing was lost.
	frame := make([]byte, 9)
	if _, err := io.ReadFull(r, frame); err != nil || frame[3] != 4 {
		t.Errorf("the server answers %x, %v", frame, err)
	}
}

func TestSession(t *testing.T) {
	d := newDoor(t)
	head := h2c + "X-Docker-Expose-Session-Uuid: abc\r\nX-Docker-Expose-Session-Grpc-Method: /a/B\r\n"
	conn, resp, _ := d.upgrade(t, "/session", head, "")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	s, err := d.sessions.Get(t.Context(), "abc")
	if err != nil || !s.Supports("/a/B") {
		t.Fatalf("session is %v, %v", s, err)
	}
	if _, resp, _ := d.upgrade(t, "/session", head, ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("twice: %s", resp.Status)
	}
	conn.Close()
	select {
	case <-s.Context().Done():
	case <-time.After(time.Minute):
		t.Error("the session outlives its connection")
	}
}

func TestListener(t *testing.T) {
	l := hijack.NewListener()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Hand(ctx, nil); err == nil {
		t.Error("handed to nobody")
	}
	l.Close()
	l.Close()
	if _, err := l.Accept(); err == nil {
		t.Error("accepted after the end")
	}
	if err := l.Hand(t.Context(), nil); err == nil {
		t.Error("handed after the end")
	}
	// What is no upgrade goes on.
	w := httptest.NewRecorder()
	hijack.New(hijack.Config{GRPC: l}).Direct(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("status is %d", w.Code)
	}
}
