package sourcetest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/secrets"
	"github.com/kilnbuild/kiln/solver/pb/sshforward"
	"github.com/kilnbuild/kiln/solver/pb/upload"
	"github.com/kilnbuild/kiln/solver/session"
)

// Client is the other end of a session.
type Client struct {
	secrets.UnimplementedSecretsServer
	upload.UnimplementedUploadServer
	sshforward.UnimplementedSSHServer

	// Secrets by id.
	Secrets map[string]string
	// Uploads by path; each is given out once.
	Uploads map[string]string
	// Layouts by name, with their blobs; what a blob has need not be what its
	// digest says.
	Layouts map[string]map[digest.Digest]string
	// Agent answers what is written to the agent "default"; nil for none.
	Agent func(question []byte) []byte

	mu    sync.Mutex
	asked []string
}

// Open serves the client under an id until the test ends or stop is called.
func (c *Client) Open(t testing.TB, m *session.Manager, id string) (stop func()) {
	t.Helper()
	daemon, remote := net.Pipe()
	server := grpc.NewServer()
	secrets.RegisterSecretsServer(server, c)
	upload.RegisterUploadServer(server, c)
	sshforward.RegisterSSHServer(server, c)
	contentapi.RegisterContentServer(server, &layouts{client: c})
	l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- remote
	go func() { _ = server.Serve(l) }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = m.Serve(context.WithoutCancel(t.Context()), daemon, session.Options{ID: id})
	}()
	if _, err := m.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { server.Stop(); <-ended })
	t.Cleanup(stop)
	return stop
}

// Asked returns the ids of the secrets that were asked for.
func (c *Client) Asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.asked...)
}

// GetSecret implements the secrets service.
func (c *Client) GetSecret(_ context.Context, req *secrets.GetSecretRequest) (*secrets.GetSecretResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, req.GetID())
	v, ok := c.Secrets[req.GetID()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such secret")
	}
	return &secrets.GetSecretResponse{Data: []byte(v)}, nil
}

// Pull implements the upload service.
func (c *Client) Pull(stream grpc.BidiStreamingServer[upload.BytesMessage, upload.BytesMessage]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	path := strings.Join(md["urlpath"], "")
	c.mu.Lock()
	v, ok := c.Uploads[path]
	delete(c.Uploads, path)
	c.mu.Unlock()
	if !ok {
		return status.Errorf(codes.NotFound, "no upload %s", path)
	}
	for len(v) > 0 {
		n := min(len(v), 1000)
		if err := stream.Send(&upload.BytesMessage{Data: []byte(v[:n])}); err != nil {
			return err
		}
		v = v[n:]
	}
	return nil
}

// CheckAgent implements the SSH service.
func (c *Client) CheckAgent(_ context.Context, req *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	if c.Agent == nil || req.GetID() != session.DefaultAgent {
		return nil, status.Errorf(codes.NotFound, "unset ssh forward key %s", req.GetID())
	}
	return &sshforward.CheckAgentResponse{}, nil
}

// ForwardAgent implements the SSH service.
func (c *Client) ForwardAgent(stream grpc.BidiStreamingServer[sshforward.BytesMessage, sshforward.BytesMessage]) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); strings.Join(md["buildkit.ssh.id"], "") != session.DefaultAgent {
		return status.Error(codes.NotFound, "no such agent")
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(&sshforward.BytesMessage{Data: c.Agent(m.GetData())})
		}
		if err != nil {
			return err
		}
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept returns the connection, then waits for Close.
func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
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
