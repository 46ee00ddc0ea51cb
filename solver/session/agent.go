package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/sshforward"
)

const (
	// DefaultAgent is the id of the SSH agent that clients forward by default.
	DefaultAgent = "default"
	// keyAgent is the request metadata that names the agent.
	keyAgent = "buildkit.ssh.id"
	// maxAgentConns bounds the connections to one socket at a time.
	maxAgentConns = 64
)

// AgentSocket is a unix socket behind which is the SSH agent of a client.
type AgentSocket struct {
	// Path of the socket, in a directory of its own.
	Path string

	listener net.Listener
	cancel   context.CancelFunc
	conns    sync.WaitGroup
}

// ForwardAgent makes a socket in dir, an existing directory that the caller
// owns and removes after Close, for the agent id of the first session of ids
// that has it. The socket is for its owner only; whoever else may connect is
// the caller's decision. Forwarding ends with Close, ctx or the session. The
// error is errdefs NotFound if no session forwards the agent.
func (m *Manager) ForwardAgent(ctx context.Context, ids []string, id, dir string) (*AgentSocket, error) {
	if id == "" {
		id = DefaultAgent
	}
	var from *Session
	err := m.Any(ctx, ids, func(ctx context.Context, s *Session) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		_, err := sshforward.NewSSHClient(s.Conn()).CheckAgent(ctx, &sshforward.CheckAgentRequest{ID: id})
		switch status.Code(err) {
		case codes.OK:
			from = s
			return nil
		case codes.Unimplemented:
			return fmt.Errorf("no SSH key %q forwarded from the client: %w", id, errdefs.ErrNotFound)
		}
		return fmt.Errorf("ask client for SSH key %q: %w", id, err)
	})
	if err != nil {
		return nil, err
	}
	a := &AgentSocket{Path: filepath.Join(dir, "agent.sock")}
	// Nobody can connect between bind and chmod: the directory is the caller's.
	if a.listener, err = net.Listen("unix", a.Path); err != nil {
		return nil, fmt.Errorf("make agent socket: %w", err)
	}
	if err := os.Chmod(a.Path, 0o600); err != nil {
		return nil, errors.Join(err, a.listener.Close())
	}
	ctx, a.cancel = from.With(ctx)
	stop := context.AfterFunc(ctx, func() { a.listener.Close() })
	a.conns.Go(func() {
		defer stop()
		a.accept(ctx, from, id)
	})
	return a, nil
}

// accept forwards connections until the listener is closed.
func (a *AgentSocket) accept(ctx context.Context, s *Session, id string) {
	slots := make(chan struct{}, maxAgentConns)
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		slots <- struct{}{}
		a.conns.Go(func() {
			defer func() { <-slots }()
			forwardConn(ctx, s, id, conn.(*net.UnixConn))
		})
	}
}

// Close removes the socket, breaks its connections off and waits for them.
func (a *AgentSocket) Close() error {
	a.cancel()
	err := a.listener.Close()
	a.conns.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// forwardConn carries one connection until both directions have ended.
func forwardConn(ctx context.Context, s *Session, id string, conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, metadata.MD{keyAgent: {id}}))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	stream, err := sshforward.NewSSHClient(s.Conn()).ForwardAgent(ctx)
	if err != nil {
		return
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := io.CopyBuffer(agentWriter{stream}, onlyReader{conn}, make([]byte, maxChunk)); err != nil {
			cancel()
			return
		}
		_ = stream.CloseSend()
	}()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			// The agent has said everything and may still listen.
			_ = conn.CloseWrite()
			break
		}
		if err == nil {
			_, err = conn.Write(m.GetData())
		}
		if err != nil {
			cancel()
			_ = conn.Close()
			break
		}
	}
	<-sent
}

// agentWriter sends what is written as messages.
type agentWriter struct {
	stream grpc.BidiStreamingClient[sshforward.BytesMessage, sshforward.BytesMessage]
}

func (w agentWriter) Write(p []byte) (int, error) {
	if err := w.stream.Send(&sshforward.BytesMessage{Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// onlyReader hides WriteTo, so that the buffer bounds messages.
type onlyReader struct{ io.Reader }
