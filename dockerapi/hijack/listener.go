package hijack

import (
	"context"
	"net"
	"sync"
)

// Listener is a net.Listener of connections that are handed to it. Use
// NewListener.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a Listener without connections.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Hand gives a connection to whoever accepts next, who owns it then. On an
// error, net.ErrClosed or the context's, the caller still does.
func (l *Listener) Hand(ctx context.Context, conn net.Conn) error {
	select {
	case l.conns <- conn:
		return nil
	case <-l.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends waiting for connections. Closing again does nothing.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is the same for all: these connections have addresses of their own.
func (*Listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "hijack" }
func (address) String() string  { return "the Docker API" }
