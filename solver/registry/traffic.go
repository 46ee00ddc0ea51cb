package registry

import (
	"context"
	"net"
	"sync/atomic"
)

// traffic counts the bytes of all connections to registries, as they are on the
// wire.
type traffic struct {
	received, sent atomic.Int64
}

// Bytes returns how many bytes came from registries and went to them since the
// client was made, TLS and headers included.
func (c *Client) Bytes() (received, sent int64) {
	return c.traffic.received.Load(), c.traffic.sent.Load()
}

// dialFunc opens connections.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// count returns a dial whose connections are counted.
func (t *traffic) count(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{conn, t}, nil
	}
}

// countedConn is a connection that is counted.
type countedConn struct {
	net.Conn
	traffic *traffic
}

// Read counts what it reads.
func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.traffic.received.Add(int64(n))
	return n, err
}

// Write counts what it writes.
func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.traffic.sent.Add(int64(n))
	return n, err
}
