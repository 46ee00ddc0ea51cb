package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// Names of the variables that a host sets; wire facts.
const (
	envOption  = "BUILDKIT_FRONTEND_OPT_"
	envSession = "BUILDKIT_SESSION_ID"
	envProduct = "BUILDKIT_EXPORTEDPRODUCT"
)

// maxMessage is the size of a message that hosts take and send, in bytes.
const maxMessage = 16 << 20

// Environment is what a host tells a program before they talk.
type Environment struct {
	// Opts are the options of the request.
	Opts map[string]string
	// SessionID is that of the client, Product how it calls the builder.
	SessionID, Product string
}

// ReadEnvironment reads the variables of a process. Options without "=" are
// left out.
func ReadEnvironment(environ []string) Environment {
	env := Environment{Opts: map[string]string{}}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case strings.HasPrefix(name, envOption):
			if k, v, ok := strings.Cut(value, "="); ok {
				env.Opts[k] = v
			}
		case name == envSession:
			env.SessionID = value
		case name == envProduct:
			env.Product = value
		}
	}
	return env
}

// Run runs a frontend for the host at the other end of in and out, and tells it
// the outcome. An error means that the host could not be talked to: what the
// frontend fails with is an outcome. The streams stay open: the program is to end,
// or the caller to close them.
func Run(ctx context.Context, f frontend.Frontend, env Environment, in io.ReadCloser, out io.WriteCloser) error {
	// Not closed: that would wait for a read of standard input, which ends when
	// the host closes it, and the host waits for this program.
	conn, err := dial(&stdio{ReadCloser: in, out: out})
	if err != nil {
		return err
	}
	b := &bridge{client: gateway.NewLLBBridgeClient(conn)}
	if err := b.ping(ctx, env); err != nil {
		return err
	}
	inputs, err := b.client.Inputs(ctx, &gateway.InputsRequest{})
	if err != nil {
		return fmt.Errorf("get inputs: %w", err)
	}
	res, err := f.Solve(ctx, b, frontend.Request{Opts: env.Opts, Inputs: inputs.GetDefinitions()})
	ret := &gateway.ReturnRequest{}
	if err == nil {
		ret.Result, err = toWire(res)
	}
	if err != nil {
		ret.Result, ret.Error = nil, rpcerr.ToStatus(err)
	}
	if _, err := b.client.Return(ctx, ret); err != nil {
		return fmt.Errorf("return to the builder: %w", err)
	}
	return nil
}

// dial opens gRPC over a connection, which is used once.
func dial(conn net.Conn) (*grpc.ClientConn, error) {
	once := make(chan net.Conn, 1)
	once <- conn
	c, err := grpc.NewClient("passthrough:///host",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(rpcerr.UnaryClient),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, net.ErrClosed
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to the builder: %w", err)
	}
	return c, nil
}

// stdio is a connection over two streams. It has no deadlines.
type stdio struct {
	io.ReadCloser
	out io.WriteCloser
}

// Write writes to the host.
func (s *stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close closes both directions.
func (s *stdio) Close() error { return errors.Join(s.ReadCloser.Close(), s.out.Close()) }

// LocalAddr names the connection in logs.
func (s *stdio) LocalAddr() net.Addr { return address{} }

// RemoteAddr names the connection in logs.
func (s *stdio) RemoteAddr() net.Addr { return address{} }

// SetDeadline does nothing: the host ends a program that takes too long.
func (s *stdio) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (s *stdio) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (s *stdio) SetWriteDeadline(time.Time) error { return nil }

// address is that of standard streams.
type address struct{}

// Network is a name for it.
func (address) Network() string { return "stdio" }

// String is a name for it.
func (address) String() string { return "builder" }
