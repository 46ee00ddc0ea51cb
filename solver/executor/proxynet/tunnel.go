package proxynet

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// handshakeTime bounds how long a client takes to say what it wants.
const handshakeTime = 30 * time.Second

// tlsRecord is the first byte of a TLS connection.
const tlsRecord = 0x16

// tunnel is a connection through CONNECT, in the clear.
type tunnel struct {
	net.Conn
	scheme, host string
}

// tunnelKey finds the tunnel of a request in its context.
type tunnelKey struct{}

// open reads what a new tunnel is for and has its requests served.
func (s *session) open(ctx context.Context, conn net.Conn, host string) {
	t, err := s.reveal(ctx, conn, host)
	if err != nil {
		_ = conn.Close()
		return
	}
	if !s.tunnels.give(t) {
		_ = t.Close()
	}
}

func (s *session) reveal(ctx context.Context, conn net.Conn, host string) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	peeked := &peekedConn{Conn: conn, r: r}
	if first[0] != tlsRecord {
		return &tunnel{Conn: peeked, scheme: "http", host: host}, nil
	}
	secure := tls.Server(peeked, &tls.Config{
		// The certificate is for the tunnel's host, whatever name the client
		// gives: this is where its requests will go.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.authority.leaf(bareHost(host)) },
		NextProtos:     []string{"http/1.1"},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return &tunnel{Conn: secure, scheme: "https", host: host}, nil
}

// peekedConn is a connection whose first bytes were looked at.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what was looked at first.
func (c *peekedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// tunnels is a listener for connections that are there already.
type tunnels struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func newTunnels(addr net.Addr) *tunnels {
	return &tunnels{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr}
}

// give hands a connection to the server, unless that is closed.
func (t *tunnels) give(c net.Conn) bool {
	select {
	case t.conns <- c:
		return true
	case <-t.done:
		return false
	}
}

// Accept returns the next connection.
func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. It may be called more than once.
func (t *tunnels) Close() error {
	t.once.Do(func() { close(t.done) })
	return nil
}

// Addr is the proxy's own.
func (t *tunnels) Addr() net.Addr { return t.addr }
