package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver/pb/sshforward"
	"github.com/kilnbuild/kiln/solver/session"
)

const (
	// headerAgent names the agent that is asked for.
	headerAgent = "buildkit.ssh.id"
	// maxKey bounds a key file, in bytes.
	maxKey = 100 << 10
	// agentTimeout bounds connecting to a socket.
	agentTimeout = 2 * time.Second
)

// Agents forwards SSH agents by id.
type Agents struct {
	sshforward.UnimplementedSSHServer
	byID map[string]agentSource
}

// agentSource is one agent: a socket, or keys that were read.
type agentSource struct {
	socket string
	raw    bool
	keys   agent.Agent
}

// NewAgents reads the keys, and checks that sockets are there.
func NewAgents(list []request.Agent) (*Agents, error) {
	a := &Agents{byID: map[string]agentSource{}}
	for _, one := range list {
		src, err := openAgent(one)
		if err != nil {
			return nil, fmt.Errorf("ssh %s: %w", one.ID, err)
		}
		a.byID[one.ID] = src
	}
	return a, nil
}

// openAgent reads keys, or finds the socket. Failing here is better than in a
// step of a build: the user is still looking.
func openAgent(a request.Agent) (agentSource, error) {
	paths := a.Paths
	if len(paths) == 0 {
		sock := os.Getenv("SSH_AUTH_SOCK")
		if sock == "" {
			return agentSource{}, errors.New("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
		}
		paths = []string{sock}
	}
	src := agentSource{raw: a.Raw, keys: agent.NewKeyring()}
	for _, p := range paths {
		fi, err := os.Stat(p)
		if err != nil {
			return src, err
		}
		switch {
		case fi.Mode()&os.ModeSocket != 0 && len(paths) > 1:
			return src, errors.New("a socket cannot be combined with keys or other sockets")
		case fi.Mode()&os.ModeSocket != 0:
			src.socket = p
		case a.Raw:
			return src, fmt.Errorf("raw mode needs a socket, %s is none", p)
		default:
			if err := addKey(src.keys, p); err != nil {
				return src, err
			}
		}
	}
	return src, nil
}

// addKey adds a private key without a passphrase: there is nobody to ask for
// one while a build runs.
func addKey(keys agent.Agent, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	key, err := ssh.ParseRawPrivateKey(data)
	if err != nil {
		return fmt.Errorf("parse %s: %w", path, err)
	}
	return keys.Add(agent.AddedKey{PrivateKey: key})
}

// Register adds the service.
func (a *Agents) Register(s *grpc.Server) { sshforward.RegisterSSHServer(s, a) }

// CheckAgent says whether there is an agent of that name.
func (a *Agents) CheckAgent(_ context.Context, req *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	_, err := a.find(req.GetID())
	return &sshforward.CheckAgentResponse{}, err
}

// find returns an agent. The text of its error is known to frontends.
func (a *Agents) find(id string) (agentSource, error) {
	if id == "" {
		id = "default"
	}
	src, ok := a.byID[id]
	if !ok {
		return src, fmt.Errorf("unset ssh forward key %s: %w", id, errdefs.ErrNotFound)
	}
	return src, nil
}

// ForwardAgent serves one connection.
func (a *Agents) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	id := ""
	if md, ok := metadata.FromIncomingContext(stream.Context()); ok && len(md.Get(headerAgent)) > 0 {
		id = md.Get(headerAgent)[0]
	}
	src, err := a.find(id)
	if err != nil {
		return err
	}
	near := session.NewStreamConn(agentStream{stream}, nil)
	if src.socket == "" {
		return ended(agent.ServeAgent(src.keys, near))
	}
	d := net.Dialer{Timeout: agentTimeout}
	far, err := d.DialContext(stream.Context(), "unix", src.socket)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", src.socket, err)
	}
	defer far.Close()
	if src.raw {
		return relay(near, far.(*net.UnixConn))
	}
	return ended(agent.ServeAgent(readOnly{agent.NewClient(far)}, near))
}

// ended takes the end of a connection for what it is.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// relay passes bytes on in both directions until the far side ends.
func relay(near net.Conn, far *net.UnixConn) error {
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.CloseWrite()
	}()
	_, err := io.Copy(near, far)
	return err
}

// errReadOnly answers what a build must not do with an agent.
var errReadOnly = errors.New("not allowed by kiln: builds may only use the keys of the agent")

// readOnly lets a build list and use keys, and change nothing.
type readOnly struct{ agent.ExtendedAgent }

// Add is refused.
func (readOnly) Add(agent.AddedKey) error { return errReadOnly }

// Remove is refused.
func (readOnly) Remove(ssh.PublicKey) error { return errReadOnly }

// RemoveAll is refused.
func (readOnly) RemoveAll() error { return errReadOnly }

// Lock is refused.
func (readOnly) Lock([]byte) error { return errReadOnly }

// Unlock is refused.
func (readOnly) Unlock([]byte) error { return errReadOnly }

// Extension is refused: extensions can do anything.
func (readOnly) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }

// agentStream carries bytes in the messages of the service.
type agentStream struct {
	stream sshforward.SSH_ForwardAgentServer
}

// SendBytes sends one message.
func (s agentStream) SendBytes(b []byte) error {
	return s.stream.Send(&sshforward.BytesMessage{Data: b})
}

// RecvBytes receives one message.
func (s agentStream) RecvBytes() ([]byte, error) {
	m, err := s.stream.Recv()
	return m.GetData(), err
}
