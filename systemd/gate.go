package systemd

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Gate counts the connections of listeners, and can hold new ones back. The
// zero value is open.
type Gate struct {
	mu        sync.Mutex
	listeners map[*gated]struct{}
	open      int
	shut      bool
	// accepting is how many Accepts of held listeners are under way.
	accepting int
	// changed is closed and replaced with every change; nil if nobody waits.
	changed chan struct{}
}

// Wrap puts the gate before l. A listener that is held leaves new clients in
// the socket's queue while the gate is shut: it must be one that somebody else
// will go on accepting from, such as a socket of the service manager. Others
// are only counted.
func (g *Gate) Wrap(l net.Listener, held bool) net.Listener {
	_, limited := l.(deadliner)
	w := &gated{Listener: l, gate: g, held: held && limited, closed: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listeners == nil {
		g.listeners = map[*gated]struct{}{}
	}
	g.listeners[w] = struct{}{}
	return w
}

// Watch returns how many connections are open, and a channel that is closed
// when that may have changed.
func (g *Gate) Watch() (connections int, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.watch()
}

// Shut holds new connections back and returns how many are open when no more
// can come through.
func (g *Gate) Shut() (connections int) {
	g.mu.Lock()
	g.shut = true
	for l := range g.listeners {
		if l.held {
			l.interrupt(time.Unix(1, 0))
		}
	}
	for g.accepting > 0 {
		changed := g.watch()
		g.mu.Unlock()
		<-changed
		g.mu.Lock()
	}
	defer g.mu.Unlock()
	return g.open
}

// Open lets connections through again.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
	for l := range g.listeners {
		if l.held {
			l.interrupt(time.Time{})
		}
	}
	g.wake()
}

// watch returns the channel of the next change. g.mu is held.
func (g *Gate) watch() <-chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// wake tells everybody who waits. g.mu is held.
func (g *Gate) wake() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// deadliner is a listener whose Accept can be interrupted.
type deadliner interface{ SetDeadline(t time.Time) error }

// gated is a listener behind the gate.
type gated struct {
	net.Listener
	gate   *Gate
	held   bool
	once   sync.Once
	closed chan struct{}
}

// interrupt sets when Accept gives up. The gate is locked.
func (l *gated) interrupt(t time.Time) {
	_ = l.Listener.(deadliner).SetDeadline(t) // It fails when the listener is closed only.
}

// Accept waits while the gate is shut, and returns the next connection.
func (l *gated) Accept() (net.Conn, error) {
	for {
		if !l.enter() {
			return nil, net.ErrClosed
		}
		conn, err := l.Listener.Accept()
		conn = l.leave(conn, err)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
	}
}

// enter waits until the gate is open and counts the Accept; it is false when
// the listener was closed meanwhile.
func (l *gated) enter() bool {
	g := l.gate
	g.mu.Lock()
	for l.held && g.shut {
		changed := g.watch()
		g.mu.Unlock()
		select {
		case <-changed:
		case <-l.closed:
			return false
		}
		g.mu.Lock()
	}
	defer g.mu.Unlock()
	if l.held {
		g.accepting++
	}
	return true
}

// leave ends the Accept and counts the connection, in one step.
func (l *gated) leave(conn net.Conn, err error) net.Conn {
	g := l.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.held {
		g.accepting--
	}
	if err == nil {
		g.open++
		conn = &counted{Conn: conn, gate: g}
	}
	g.wake()
	return conn
}

// Close closes the listener and ends its Accept.
func (l *gated) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.gate.mu.Lock()
		defer l.gate.mu.Unlock()
		delete(l.gate.listeners, l)
	})
	return l.Listener.Close()
}

// counted is a connection until it is closed.
type counted struct {
	net.Conn
	gate *Gate
	once sync.Once
}

// Close closes the connection and counts it off.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.gate.mu.Lock()
		defer c.gate.mu.Unlock()
		c.gate.open--
		c.gate.wake()
	})
	return c.Conn.Close()
}

// CloseWrite ends one direction of connections that have two.
func (c *counted) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
