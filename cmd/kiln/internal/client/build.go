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
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/statuspb"
)

// eventsGrace is how long the rest of the events may take once the build has
// ended.
const eventsGrace = 5 * time.Second

// Attachable is a service that the daemon may call during a build.
type Attachable interface {
	Register(s *grpc.Server)
}

// Build is what to build and what to offer meanwhile.
type Build struct {
	// Request without Ref and Session: they are made here.
	Request *control.SolveRequest
	// SharedKey lets later builds reuse transfers of the same directories.
	SharedKey string
	Attach    []Attachable
	// Events receives progress, from one goroutine.
	Events func(*progress.Batch)
	// Started, if not nil, is told the build's id.
	Started func(ref string)
}

// NewID returns an id of the form clients use.
func NewID() string { return strings.ToLower(rand.Text()[:25]) }

// Build runs a build to its end.
func (c *Client) Build(ctx context.Context, b Build) (*control.SolveResponse, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req := b.Request
	req.Ref, req.Session = NewID(), NewID()
	if b.Started != nil {
		b.Started(req.Ref)
	}
	var side sync.WaitGroup
	defer side.Wait()
	defer cancel(nil)
	side.Go(func() {
		if err := c.serveSession(ctx, req.Session, b); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("session with the daemon: %w", err))
		}
	})
	events := make(chan struct{})
	eventsCtx, stopEvents := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEvents()
	go func() {
		defer close(events)
		c.follow(eventsCtx, req.Ref, b.Events)
	}()
	resp, err := c.Control.Solve(ctx, req)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	select {
	case <-events:
	case <-time.After(eventsGrace):
		stopEvents()
		<-events
	}
	return resp, err
}

// follow passes events on until they end. A failure to follow is no failure
// of the build.
func (c *Client) follow(ctx context.Context, ref string, fn func(*progress.Batch)) {
	stream, err := c.Control.Status(ctx, &control.StatusRequest{Ref: ref})
	if err != nil {
		return
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return
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
	md := metadata.Pairs("x-docker-expose-session-uuid", id, "x-docker-expose-session-sharedkey", b.SharedKey)
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

func newOneConn(c net.Conn) *oneConn {
	l := &oneConn{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conns <- &endingConn{Conn: c, end: func() { l.Close() }}
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
