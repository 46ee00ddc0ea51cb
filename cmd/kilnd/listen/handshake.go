package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/log"
)

const (
	// handshakeWithin bounds a handshake.
	handshakeWithin = 10 * time.Second
	// maxHandshakes bounds how many there are at a time; others wait.
	maxHandshakes = 64
	// lingerFor is how long a client that was turned away may take to read why.
	lingerFor = time.Second
	// retryAfter is the pause after a failure to accept that will pass.
	retryAfter = 50 * time.Millisecond
)

// tlsListener gives out connections whose handshake is over. The others it
// closes, after the client had time to read why; the log says the same.
type tlsListener struct {
	net.Listener
	config *tls.Config
	ready  chan net.Conn
	// failed is closed when Accept has failed with err.
	failed chan struct{}
	err    error
	closed chan struct{}
	once   sync.Once
}

// newTLSListener wraps l. Its goroutines end with Close.
func newTLSListener(ctx context.Context, l net.Listener, config *tls.Config) net.Listener {
	t := &tlsListener{
		Listener: l, config: config, ready: make(chan net.Conn), failed: make(chan struct{}), closed: make(chan struct{}),
	}
	go t.run(context.WithoutCancel(ctx))
	return t
}

// run accepts connections and shakes hands with each in a goroutine.
func (t *tlsListener) run(ctx context.Context) {
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := t.Listener.Accept()
		if passing := (interface{ Temporary() bool })(nil); errors.As(err, &passing) && passing.Temporary() {
			// Too many open files, say: others will be closed.
			time.Sleep(retryAfter)
			continue
		}
		if err != nil {
			t.err = err
			close(t.failed)
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			t.shake(ctx, conn)
		}()
	}
}

func (t *tlsListener) shake(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	secured := tls.Server(conn, t.config)
	if err := secured.HandshakeContext(ctx); err != nil {
		log.G(ctx).WithError(err).Warnf("client %s is turned away", conn.RemoteAddr())
		linger(conn)
		return
	}
	select {
	case t.ready <- secured:
	case <-t.closed:
		conn.Close()
	}
}

// linger closes a connection so that the last words reach the client: closing
// with bytes of the client's unread would throw them away.
func linger(conn net.Conn) {
	defer conn.Close()
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil &&
		conn.SetReadDeadline(time.Now().Add(lingerFor)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
	}
}

// Accept returns the next connection.
func (t *tlsListener) Accept() (net.Conn, error) {
	select {
	case conn := <-t.ready:
		return conn, nil
	case <-t.failed:
		return nil, t.err
	}
}

// Close ends the listener.
func (t *tlsListener) Close() error {
	t.once.Do(func() { close(t.closed) })
	return t.Listener.Close()
}
