package session_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/sshforward"
	"github.com/kilnbuild/kiln/solver/pb/upload"
	"github.com/kilnbuild/kiln/solver/session"
)

// forwarder serves an agent that answers in upper case, and one upload.
type forwarder struct {
	sshforward.UnimplementedSSHServer
	upload.UnimplementedUploadServer
}

func (forwarder) CheckAgent(_ context.Context, req *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	if req.GetID() != "default" {
		return nil, status.Errorf(codes.NotFound, "unset ssh forward key %s", req.GetID())
	}
	return &sshforward.CheckAgentResponse{}, nil
}

func (forwarder) ForwardAgent(stream grpc.BidiStreamingServer[sshforward.BytesMessage, sshforward.BytesMessage]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.Send(&sshforward.BytesMessage{Data: []byte("|" + md["buildkit.ssh.id"][0])})
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&sshforward.BytesMessage{Data: bytes.ToUpper(m.GetData())}); err != nil {
			return err
		}
	}
}

func (forwarder) Pull(stream grpc.BidiStreamingServer[upload.BytesMessage, upload.BytesMessage]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if md["urlpath"][0] != "/x" {
		return status.Error(codes.NotFound, "no")
	}
	return errors.Join(stream.Send(&upload.BytesMessage{Data: []byte("a")}), stream.Send(&upload.BytesMessage{Data: []byte("bc")}))
}

// openForwarder runs a session with a forwarder until the test ends.
func openForwarder(t *testing.T, m *session.Manager, id string) (stop func()) {
	t.Helper()
	daemon, remote := net.Pipe()
	server := grpc.NewServer()
	sshforward.RegisterSSHServer(server, forwarder{})
	upload.RegisterUploadServer(server, forwarder{})
	l := &oneListener{conn: make(chan net.Conn, 1)}
	l.conn <- remote
	go func() { _ = server.Serve(l) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Serve(t.Context(), daemon, session.Options{ID: id})
	}()
	if _, err := m.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	stop = func() { server.Stop(); <-done }
	t.Cleanup(stop)
	return stop
}

func TestForwardAgent(t *testing.T) {
	m := session.NewManager()
	stop := openForwarder(t, m, "s1")
	a, err := m.ForwardAgent(t.Context(), []string{"s1"}, "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(a.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	for range 3 {
		conn, err := net.Dial("unix", a.Path)
		if err != nil {
			t.Fatal(err)
		}
		big := bytes.Repeat([]byte("agent"), 20_000)
		go func() {
			_, _ = conn.Write(big)
			_ = conn.(*net.UnixConn).CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if want := append(bytes.ToUpper(big), "|default"...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of answer, want %d (%v)", len(got), len(want), err)
		}
		conn.Close()
	}
	open, err := net.Dial("unix", a.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	stop()
	// What was not accepted yet is reset, not closed.
	if _, err := io.ReadAll(open); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connection of a session that ended: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(a.Path); !os.IsNotExist(err) {
		t.Errorf("socket after Close: %v", err)
	}
}

// TestForwardAgentMovesOn ends the session behind a socket that two sessions
// could serve.
func TestForwardAgentMovesOn(t *testing.T) {
	m := session.NewManager()
	stop := openForwarder(t, m, "s1")
	open(t, m, "none", &client{})
	openForwarder(t, m, "s2")
	a, err := m.ForwardAgent(t.Context(), []string{"s1", "none", "s2"}, "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	stop()
	// A connection made before the end has come to notice ends with the first
	// session.
	var got []byte
	for end := time.Now().Add(10 * time.Second); string(got) != "X|default" && time.Now().Before(end); time.Sleep(time.Millisecond) {
		got, err = ask(a.Path)
	}
	if err != nil || string(got) != "X|default" {
		t.Errorf("the second session answers %q (%v)", got, err)
	}
}

// ask sends a letter to the agent behind a socket and returns the answer.
func ask(path string) ([]byte, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("x"))
	_ = conn.(*net.UnixConn).CloseWrite()
	return io.ReadAll(conn)
}

func TestForwardAgentMissing(t *testing.T) {
	m := session.NewManager()
	open(t, m, "plain", &client{})
	if _, err := m.ForwardAgent(t.Context(), []string{"plain"}, "", t.TempDir()); !errdefs.IsNotFound(err) {
		t.Errorf("client without agents: %v", err)
	}
	openForwarder(t, m, "s1")
	if _, err := m.ForwardAgent(t.Context(), []string{"s1"}, "other", t.TempDir()); err == nil {
		t.Error("unknown agent is forwarded")
	}
	if _, err := m.ForwardAgent(t.Context(), nil, "", t.TempDir()); !errors.Is(err, session.ErrNone) {
		t.Errorf("no session: %v", err)
	}
}

func TestUpload(t *testing.T) {
	m := session.NewManager()
	openForwarder(t, m, "s1")
	s, err := m.Get(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/x": "abc", "/y": ""} {
		r, err := s.Upload(t.Context(), "buildkit-session", path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if string(got) != want || (err != nil) != (want == "") || err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("%s: %q %v", path, got, err)
		}
		r.Close()
	}
}

func TestMemo(t *testing.T) {
	m := session.NewManager()
	memo := session.NewMemo[int](m)
	memo.Wait = time.Millisecond
	var asked atomic.Int32
	ask := func(context.Context) (int, error) { return int(asked.Add(1)), nil }
	do := func(want int, ids ...string) {
		t.Helper()
		if got, err := memo.Do(t.Context(), ids, "q", ask); got != want || err != nil {
			t.Errorf("got %d %v, want %d", got, err, want)
		}
	}
	do(1)
	do(2, "none")
	stop := open(t, m, "s1", &client{})
	if _, err := m.Get(t.Context(), "s1"); err != nil {
		t.Fatal(err)
	}
	if _, err := memo.Do(t.Context(), []string{"s1"}, "q", func(context.Context) (int, error) { return 0, io.ErrUnexpectedEOF }); err == nil {
		t.Error("no error")
	}
	do(3, "s1")
	do(3, "gone", "store:s1")
	memo.Forget([]string{"s1"}, "q")
	do(4, "s1")
	stop()
	do(5, "s1")
}

// TestMemoWaits asks before the session is there.
func TestMemoWaits(t *testing.T) {
	m := session.NewManager()
	memo := session.NewMemo[int](m)
	started := make(chan struct{})
	got := make(chan int)
	go func() {
		close(started)
		v, _ := memo.Do(t.Context(), []string{"s"}, "q", func(context.Context) (int, error) { return 1, nil })
		got <- v
	}()
	<-started
	defer open(t, m, "s", &client{})()
	if v := <-got; v != 1 {
		t.Error(v)
	}
	if v, err := memo.Do(t.Context(), []string{"s"}, "q", func(context.Context) (int, error) { return 2, nil }); v != 1 || err != nil {
		t.Errorf("asked again: %d, %v", v, err)
	}
}

// TestMemoCancelled lets the one who asks be cancelled while another waits.
func TestMemoCancelled(t *testing.T) {
	m := session.NewManager()
	memo := session.NewMemo[int](m)
	open(t, m, "s1", &client{})
	if _, err := m.Get(t.Context(), "s1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered, second := make(chan struct{}), make(chan int)
	go func() {
		_, _ = memo.Do(ctx, []string{"s1"}, "q", func(ctx context.Context) (int, error) {
			close(entered)
			<-ctx.Done()
			return 0, ctx.Err()
		})
	}()
	<-entered
	go func() {
		n, _ := memo.Do(t.Context(), []string{"s1"}, "q", func(context.Context) (int, error) { return 7, nil })
		second <- n
	}()
	cancel()
	if n := <-second; n != 7 {
		t.Errorf("the other one got %d", n)
	}
}
