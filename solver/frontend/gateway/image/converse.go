package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	pbgateway "github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

const (
	// maxMessage is the size of a message that both sides expect, in bytes.
	maxMessage = 16 << 20
	// exitWait is how long a program may go on after it has returned or hung
	// up.
	exitWait = 10 * time.Second
	// maxTail is how much of what a program logged last an error tells, in
	// bytes.
	maxTail = 4 << 10
)

var (
	errHungUp   = fmt.Errorf("frontend grpc server closed unexpectedly: %w", errdefs.ErrUnavailable)
	errNoResult = fmt.Errorf("no result for incomplete build: %w", errdefs.ErrFailedPrecondition)
)

// converse runs the program and serves the bridge on its standard streams.
func converse(ctx context.Context, c gateway.Container, s *gateway.Session, p executor.Process) (*frontend.Result, error) {
	conn, stdin, stdout := newStdio()
	tail := &tail{logf: log.G(ctx).Debugf}
	p.Stdin, p.Stdout, p.Stderr = stdin, stdout, tail
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server := newServer(s)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { _ = server.Serve(&once{conn: conn}) })
	group.Go(func() { supervise(s, conn, stop, cancel) })
	err := c.Run(run, gateway.Process{Process: p}, make(chan struct{}))
	close(stop)
	server.Stop()
	_ = conn.Close()
	group.Wait()
	return verdict(ctx, run, s, err, tail.String())
}

// supervise ends a program that does not go although it has returned, or that
// has hung up.
func supervise(s *gateway.Session, conn *stdio, stop <-chan struct{}, cancel context.CancelCauseFunc) {
	reason := errLingers
	select {
	case <-stop:
		return
	case <-s.Done():
	case <-conn.closed:
		if !s.Returned() {
			reason = errHungUp
		}
	}
	select {
	case <-stop:
	case <-time.After(exitWait):
		cancel(reason)
	}
}

// errLingers is why a program was ended that had nothing more to do.
var errLingers = errors.New("the frontend has returned")

// verdict is what a conversation comes to.
func verdict(ctx, run context.Context, s *gateway.Session, exit error, said string) (*frontend.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if s.Returned() {
		res, err := s.Wait(ctx)
		if err != nil || exit == nil || errors.Is(context.Cause(run), errLingers) {
			return res, err
		}
	}
	if exit == nil {
		exit = errNoResult
	}
	if said != "" {
		return nil, fmt.Errorf("%w: the frontend said: %s", exit, said)
	}
	return nil, exit
}

// newServer serves a conversation.
func newServer(s *gateway.Session) *grpc.Server {
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			resp, err := handler(ctx, req)
			return resp, rpcerr.ForFrontend(err)
		}),
		grpc.StreamInterceptor(rpcerr.StreamServer),
	)
	pbgateway.RegisterLLBBridgeServer(server, s)
	healthpb.RegisterHealthServer(server, health.NewServer())
	return server
}

// stdio is a connection over the standard streams of a process. It has no
// deadlines.
type stdio struct {
	*io.PipeReader
	*io.PipeWriter
	closed chan struct{}
	once   sync.Once
}

// newStdio returns a connection and the ends of it that the process gets.
func newStdio() (*stdio, *io.PipeReader, *io.PipeWriter) {
	inReader, inWriter := io.Pipe()
	outReader, outWriter := io.Pipe()
	return &stdio{PipeReader: outReader, PipeWriter: inWriter, closed: make(chan struct{})}, inReader, outWriter
}

// Close closes both directions.
func (s *stdio) Close() error {
	s.once.Do(func() { close(s.closed) })
	return errors.Join(s.PipeReader.Close(), s.PipeWriter.Close())
}

// LocalAddr names the connection in logs.
func (s *stdio) LocalAddr() net.Addr { return address{} }

// RemoteAddr names the connection in logs.
func (s *stdio) RemoteAddr() net.Addr { return address{} }

// SetDeadline does nothing: the process's end closes the connection.
func (s *stdio) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (s *stdio) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (s *stdio) SetWriteDeadline(time.Time) error { return nil }

// address is that of standard streams.
type address struct{}

// Network is a name for it.
func (address) Network() string { return "stdio" }

// String is a name for it.
func (address) String() string { return "frontend" }

// once is a listener with a single connection, which stays open as long as
// that.
type once struct {
	mu    sync.Mutex
	conn  *stdio
	taken bool
}

// Accept returns the connection, then waits for its end.
func (o *once) Accept() (net.Conn, error) {
	o.mu.Lock()
	taken := o.taken
	o.taken = true
	o.mu.Unlock()
	if !taken {
		return o.conn, nil
	}
	<-o.conn.closed
	return nil, net.ErrClosed
}

// Close closes the connection.
func (o *once) Close() error { return o.conn.Close() }

// Addr names the listener in logs.
func (o *once) Addr() net.Addr { return address{} }

// tail logs what a program says and keeps the last of it.
type tail struct {
	logf func(format string, args ...any)
	mu   sync.Mutex
	end  []byte
}

// Write takes a piece of the log.
func (t *tail) Write(p []byte) (int, error) {
	t.logf("frontend: %s", strings.TrimSpace(string(p)))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	if n := len(t.end) - maxTail; n > 0 {
		t.end = append(t.end[:0], t.end[n:]...)
	}
	return len(p), nil
}

// Close does nothing.
func (t *tail) Close() error { return nil }

// String returns the last that was said.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.end)), "�")
}
