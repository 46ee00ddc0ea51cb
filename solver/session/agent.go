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
	"time"

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

	sessions *Manager
	ids      []string
	id       string
	listener net.Listener
	cancel   context.CancelFunc
	conns    sync.WaitGroup
}

// ForwardAgent makes a socket in dir, an existing directory that the caller
// owns and removes after Close, for the agent id of the first session of ids
// that has it. The socket is for its owner only; whoever else may connect is
// the caller's decision. Connections made after that session has ended go to
// the next one that has the agent. Forwarding ends with Close, ctx or the last
// such session. The error is errdefs NotFound if no session forwards the agent.
func (m *Manager) ForwardAgent(ctx context.Context, ids []string, id, dir string) (*AgentSocket, error) {
	if id == "" {
		id = DefaultAgent
	}
	from, err := m.agentSession(ctx, ids, id)
	if err != nil {
		return nil, err
	}
	a := &AgentSocket{Path: filepath.Join(dir, "agent.sock"), sessions: m, ids: ids, id: id}
	// Nobody can connect between bind and chmod: the directory is the caller's.
	if a.listener, err = net.Listen("unix", a.Path); err != nil {
		return nil, fmt.Errorf("make agent socket: %w", err)
	}
	if err := os.Chmod(a.Path, 0o600); err != nil {
		return nil, errors.Join(err, a.listener.Close())
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.conns.Go(func() { a.serve(ctx, from) })
	return a, nil
}

// agentSession returns the first session of ids that has the agent.
func (m *Manager) agentSession(ctx context.Context, ids []string, id string) (*Session, error) {
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
		case codes.NotFound:
			// Clients say which one and why in their own words.
			return fmt.Errorf("SSH key %q: %s: %w", id, status.Convert(err).Message(), errdefs.ErrNotFound)
		}
		return fmt.Errorf("ask client for SSH key %q: %w", id, err)
	})
	return from, err
}

// serve forwards to one session after the other, as they end.
func (a *AgentSocket) serve(ctx context.Context, from *Session) {
	stop := context.AfterFunc(ctx, func() { a.listener.Close() })
	defer stop()
	for from != nil {
		alive, cancel := from.With(ctx)
		wake := context.AfterFunc(alive, a.interrupt)
		err := a.accept(alive, from, a.id)
		wake()
		cancel()
		if ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		_ = a.listener.(*net.UnixListener).SetDeadline(time.Time{})
		from = a.next(ctx)
	}
	a.listener.Close()
}

// interrupt wakes up the accept that waits.
func (a *AgentSocket) interrupt() { _ = a.listener.(*net.UnixListener).SetDeadline(time.Unix(1, 0)) }

// next returns a session that is open now and has the agent, or nil. It does
// not wait for sessions that may come: a process holds on to the socket.
func (a *AgentSocket) next(ctx context.Context) *Session {
	var open []string
	for _, id := range a.ids {
		if a.sessions.first([]string{id}) != nil {
			open = append(open, id)
		}
	}
	from, err := a.sessions.agentSession(ctx, open, a.id)
	if err != nil {
		return nil
	}
	return from
}

// accept forwards connections until the listener is closed or interrupted.
func (a *AgentSocket) accept(ctx context.Context, s *Session, id string) error {
	slots := make(chan struct{}, maxAgentConns)
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return err
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
