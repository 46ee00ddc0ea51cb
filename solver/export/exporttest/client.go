package exporttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/filesync"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// ClientConfig says how a Client takes results.
type ClientConfig struct {
	// Dir receives files; without it streams of bytes are taken.
	Dir string
	// Reject, if set, is the answer to streams.
	Reject error
}

// Client is the other end of a session.
type Client struct {
	// Sessions has the client's session; Env belongs to a build with it.
	Sessions *session.Manager
	Env      *Env
	// Store is the client's own content store.
	Store content.Store

	filesync.UnimplementedFileSendServer
	cfg ClientConfig

	mu      sync.Mutex
	streams [][]byte
	headers []metadata.MD
	stores  []string
}

// NewClient opens a session for the time of the test.
func NewClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	store, err := local.NewStore(filepath.Join(t.TempDir(), "client"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Sessions: session.NewManager(), Env: &Env{IDs: []string{"client"}}, Store: store, cfg: cfg}
	server := grpc.NewServer(grpc.StreamInterceptor(c.note))
	filesync.RegisterFileSendServer(server, c)
	contentapi.RegisterContentServer(server, contentserver.New(store))
	here, there := net.Pipe()
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- there
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	running.Go(func() {
		_ = c.Sessions.Serve(context.WithoutCancel(t.Context()), here, session.Options{
			ID: "client", Methods: []string{filesync.FileSend_DiffCopy_FullMethodName},
		})
	})
	t.Cleanup(func() {
		server.Stop()
		here.Close()
		running.Wait()
	})
	return c
}

// note remembers which content store calls were for.
func (c *Client) note(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	if ids := md.Get("buildkit-attachable-store-id"); len(ids) > 0 {
		c.mu.Lock()
		c.stores = append(c.stores, ids[0])
		c.mu.Unlock()
	}
	return handler(srv, ss)
}

// DiffCopy takes a result.
func (c *Client) DiffCopy(stream grpc.BidiStreamingServer[filesync.BytesMessage, filesync.BytesMessage]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	c.mu.Lock()
	c.headers = append(c.headers, md)
	c.mu.Unlock()
	if c.cfg.Reject != nil {
		return c.cfg.Reject
	}
	if c.cfg.Dir != "" {
		return c.receive(stream)
	}
	var b bytes.Buffer
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			c.mu.Lock()
			c.streams = append(c.streams, b.Bytes())
			c.mu.Unlock()
			return nil
		}
		if err != nil {
			return err
		}
		b.Write(m.GetData())
	}
}

// receive mirrors files into Dir, keeping what is there.
func (c *Client) receive(stream grpc.ServerStream) error {
	if err := os.MkdirAll(c.cfg.Dir, 0o755); err != nil {
		return err
	}
	var w *files.Writer
	m := &files.Mirror{KeepExtra: true, Open: func() (_ *files.Writer, err error) {
		w, err = files.NewWriter(c.cfg.Dir, true)
		return w, err
	}}
	defer m.Close()
	err := files.Receive(stream.Context(), packets{stream}, m)
	if err == nil {
		_, _, err = m.Finish()
	}
	if w != nil {
		err = errors.Join(err, w.Close())
	}
	return err
}

// packets carries packets on the method that is declared for bytes.
type packets struct{ grpc.ServerStream }

// Send sends a packet.
func (p packets) Send(m *fsutil.Packet) error { return p.SendMsg(m) }

// Recv receives a packet.
func (p packets) Recv() (*fsutil.Packet, error) {
	m := &fsutil.Packet{}
	return m, p.RecvMsg(m)
}

// Abort does nothing: the call ends when its handler returns.
func (p packets) Abort() {}

// Streams returns the streams that were received to their end.
func (c *Client) Streams() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams
}

// Headers returns the metadata of all transfers.
func (c *Client) Headers() []metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers
}

// Stores returns the ids of the content stores that were streamed to or from.
func (c *Client) Stores() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stores
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept returns the connection, then waits for Close.
func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the address of nothing.
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "client", Net: "pipe"} }
