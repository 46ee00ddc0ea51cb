package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/statuspb"
)

// How long the rest of the events may take once the build has ended: counted
// from the last one, or if none ever came (the daemon refused the build, and
// waits for it to appear).
const (
	eventsGrace = 5 * time.Second
	noneGrace   = 500 * time.Millisecond
)

// Attachable is a service that the daemon may call during a build.
type Attachable interface {
	Register(s *grpc.Server)
}

// Build is what to build and what to offer meanwhile.
type Build struct {
	// Request without Session, which is made here, as is Ref if it is empty.
	Request *control.SolveRequest
	// SharedKey lets later builds reuse transfers of the same directories.
	SharedKey string
	Attach    []Attachable
	// Events receives progress, from one goroutine.
	Events func(*progress.Batch)
	// Answer, if not nil, says that the options put a question to the
	// frontend, and receives what it says.
	Answer func(map[string][]byte)
}

// NewID returns an id of the form clients use.
func NewID() string { return strings.ToLower(rand.Text()[:25]) }

// Build runs a build to its end. Cancelling ctx cancels the build.
func (c *Client) Build(ctx context.Context, b Build) (*control.SolveResponse, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req := b.Request
	req.Session = NewID()
	if req.Ref == "" {
		req.Ref = NewID()
	}
	var side sync.WaitGroup
	defer side.Wait()
	defer cancel(nil)
	side.Go(func() {
		if err := c.serveSession(ctx, req.Session, b); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("session with the daemon: %w", err))
		}
	})
	f := &follower{client: c, ref: req.Ref, fn: b.Events, seen: make(chan struct{}, 1), done: make(chan struct{})}
	eventsCtx, stopEvents := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEvents()
	go f.run(eventsCtx)
	solve := req
	if b.Answer != nil {
		solve = withoutFrontend(req)
		side.Go(func() {
			// A failed question fails the build, by what is returned.
			if err := c.ask(ctx, req, b.Answer); err != nil && rpcerr.Code(err) == codes.Unavailable {
				cancel(err)
			}
		})
	}
	resp, err := c.Control.Solve(ctx, solve)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	f.finish(stopEvents)
	if err != nil {
		return nil, fmt.Errorf("failed to solve: %w", err)
	}
	return resp, nil
}

// follower passes events on until they end. A failure to follow is no failure
// of the build.
type follower struct {
	client *Client
	ref    string
	fn     func(*progress.Batch)
	any    atomic.Bool
	seen   chan struct{}
	done   chan struct{}
}

// run follows until the events end. It never waits for finish: seen has room
// for what matters, that something came.
func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	_ = f.client.Follow(ctx, f.ref, func(b *progress.Batch) {
		f.any.Store(true)
		select {
		case f.seen <- struct{}{}:
		default:
		}
		if f.fn != nil {
			f.fn(b)
		}
	})
}

// finish waits for the rest of the events as long as they keep coming.
func (f *follower) finish(stop func()) {
	for {
		grace := eventsGrace
		if !f.any.Load() {
			grace = noneGrace
		}
		timer := time.NewTimer(grace)
		select {
		case <-f.done:
		case <-f.seen:
			timer.Stop()
			continue
		case <-timer.C:
			stop()
			<-f.done
		}
		timer.Stop()
		return
	}
}

// Follow calls fn with the events of a build until they end. A build that is
// over is told from the history.
func (c *Client) Follow(ctx context.Context, ref string, fn func(*progress.Batch)) error {
	stream, err := c.Control.Status(ctx, &control.StatusRequest{Ref: ref})
	if err != nil {
		return rpcerr.FromGRPC(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return rpcerr.FromGRPC(err)
		}
		fn(statuspb.ToBatch(m))
	}
}

// serveSession serves the attachables to the daemon until ctx ends.
func (c *Client) serveSession(ctx context.Context, id string, b Build) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(rpcerr.UnaryServer), grpc.StreamInterceptor(rpcerr.StreamServer))
	for _, a := range b.Attach {
		a.Register(server)
	}
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	md := metadata.Pairs("x-docker-expose-session-uuid", id,
		"x-docker-expose-session-sharedkey", b.SharedKey)
	for name, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			md.Append("x-docker-expose-session-grpc-method", "/"+name+"/"+m.Name)
		}
	}
	stream, err := c.Control.Session(metadata.NewOutgoingContext(ctx, md))
	if err != nil {
		return err
	}
	l := newOneConn(session.NewStreamConn(controlStream{stream}, nil))
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	err = server.Serve(l)
	if errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// controlStream carries bytes in Control's messages.
type controlStream struct {
	stream control.Control_SessionClient
}

// SendBytes sends one message.
func (s controlStream) SendBytes(b []byte) error {
	return s.stream.Send(&control.BytesMessage{Data: b})
}

// RecvBytes receives one message.
func (s controlStream) RecvBytes() ([]byte, error) {
	m, err := s.stream.Recv()
	return m.GetData(), err
}

// oneConn is a listener with a single connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// newOneConn returns a listener that gives out c once. Its Accept ends when c
// is closed, and with it the server.
func newOneConn(c net.Conn) *oneConn {
	l := &oneConn{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conns <- &endingConn{Conn: c, end: func() { _ = l.Close() }}
	return l
}

// Accept returns the connection, then waits until it has ended.
func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr has no meaning.
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "session"} }

// endingConn tells when it is closed.
type endingConn struct {
	net.Conn
	end func()
}

// Close closes the connection.
func (c *endingConn) Close() error {
	c.end()
	return c.Conn.Close()
}
