package session

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// ByteStream is a message stream that carries raw bytes, as Control.Session
// and agent forwarding do. Send and Recv may be called from two goroutines.
type ByteStream interface {
	// SendBytes sends one message; the slice may be reused afterwards.
	SendBytes([]byte) error
	// RecvBytes returns the next message, or io.EOF.
	RecvBytes() ([]byte, error)
}

// maxChunk is the largest message sent, in bytes; well below the limits of
// all known peers. With its framing it just fits into a buffer of 32 KiB: the
// next size gRPC has is 1 MiB, and it clears the whole of it each time.
const maxChunk = 32<<10 - 64

// NewStreamConn returns a connection over s. Deadlines are not supported.
// closed, if not nil, is called once on Close.
func NewStreamConn(s ByteStream, closed func()) net.Conn {
	return &streamConn{stream: s, closed: closed}
}

type streamConn struct {
	stream ByteStream
	closed func()
	once   sync.Once

	readMu sync.Mutex
	rest   []byte

	writeMu sync.Mutex
}

// Read returns bytes of the current message, receiving the next when needed.
func (c *streamConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for len(c.rest) == 0 {
		b, err := c.stream.RecvBytes()
		if err != nil {
			return 0, err
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends p as one or more messages.
func (c *streamConn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	var n int
	for len(p) > 0 {
		chunk := p[:min(len(p), maxChunk)]
		if err := c.stream.SendBytes(chunk); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrClosedPipe
			}
			return n, err
		}
		n += len(chunk)
		p = p[len(chunk):]
	}
	return n, nil
}

// Close calls the close hook once.
func (c *streamConn) Close() error {
	c.once.Do(func() {
		if c.closed != nil {
			c.closed()
		}
	})
	return nil
}

func (c *streamConn) LocalAddr() net.Addr              { return streamAddr{} }
func (c *streamConn) RemoteAddr() net.Addr             { return streamAddr{} }
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

// streamAddr is the address of a connection that has none.
type streamAddr struct{}

func (streamAddr) Network() string { return "session" }
func (streamAddr) String() string  { return "session" }
