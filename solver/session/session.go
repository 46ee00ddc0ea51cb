package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Health checking, as clients expect it.
const (
	healthInterval   = 5 * time.Second
	healthMinTimeout = 15 * time.Second
	healthFailures   = 2
)

// maxMessage bounds messages in both directions, in bytes.
const maxMessage = 16 << 20

// errLost ends a session whose client does not answer any more.
var errLost = errors.New("session: the client does not answer health checks")

// Session is one client's connection.
type Session struct {
	id            string
	sharedKey     string
	methods       map[string]bool
	healthTimeout time.Duration
	conn          *grpc.ClientConn
	ctx           context.Context
	cancel        context.CancelCauseFunc
}

// newSession dials gRPC over conn. The connection is used once: when it ends,
// so does the session.
func newSession(ctx context.Context, cancel context.CancelCauseFunc, conn net.Conn, opt Options) (*Session, error) {
	s := &Session{
		id: opt.ID, sharedKey: opt.SharedKey, healthTimeout: max(opt.HealthTimeout, 0),
		methods: make(map[string]bool, len(opt.Methods)), ctx: ctx, cancel: cancel,
	}
	if s.healthTimeout == 0 {
		s.healthTimeout = healthMinTimeout
	}
	for _, m := range opt.Methods {
		s.methods[strings.ToLower(m)] = true
	}
	once := make(chan net.Conn, 1)
	once <- &watchedConn{Conn: conn, closed: func() { cancel(context.Canceled) }}
	var err error
	s.conn, err = grpc.NewClient("passthrough:///session",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		// What gRPC writes at once is one message of the outer stream.
		grpc.WithWriteBufferSize(maxChunk),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(8<<20),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				cancel(context.Canceled)
				return nil, net.ErrClosed
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("open session %s: %w", opt.ID, err)
	}
	s.conn.Connect()
	return s, nil
}

// ID returns the id the client chose.
func (s *Session) ID() string { return s.id }

// SharedKey returns the client's shared key; may be empty.
func (s *Session) SharedKey() string { return s.sharedKey }

// Supports reports whether the client serves a method, "/service/Method".
func (s *Session) Supports(method string) bool {
	return s.methods[strings.ToLower(method)]
}

// Conn is the connection to call the client's services on.
func (s *Session) Conn() grpc.ClientConnInterface { return s.conn }

// Context ends when the session ends.
func (s *Session) Context() context.Context { return s.ctx }

// With returns ctx ending also when the session ends, so that no call waits
// for a client that has gone.
func (s *Session) With(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() {
		cancel(fmt.Errorf("session %s has ended: %w", s.id, context.Canceled))
	})
	return ctx, func() { stop(); cancel(nil) }
}

func (s *Session) close() {
	s.cancel(nil)
	s.conn.Close()
}

// watchHealth returns when ctx ends, and ends it when the client has failed
// to answer healthFailures checks in a row.
func (s *Session) watchHealth(ctx context.Context) {
	client := grpc_health_v1.NewHealthClient(s.conn)
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	var failures int
	var last time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		start := time.Now()
		check, cancel := context.WithTimeout(ctx, max(s.healthTimeout, last*3/2))
		_, err := client.Check(check, &grpc_health_v1.HealthCheckRequest{})
		cancel()
		if ctx.Err() != nil {
			return
		}
		last = time.Since(start)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures >= healthFailures {
			s.cancel(errLost)
			return
		}
	}
}

// watchedConn tells when gRPC gives the connection up.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

// Close closes the connection and ends the session.
func (c *watchedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}
