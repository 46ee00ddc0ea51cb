package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/plugin/unixsocket"
)

// SocketName is the name of the socket in the state directory.
const SocketName = "containerd.sock"

// maxMessage is containerd's own limit for a gRPC message, either way.
const maxMessage = 16 << 20

// server is the gRPC server on the socket.
type server struct {
	grpc *grpc.Server
	done chan struct{}
}

// Serve starts serving the services to other processes on <state>/containerd.sock, for root only, and returns its
// path. It is called at most once; Close ends it.
func (h *Host) Serve(ctx context.Context) (string, error) {
	path := filepath.Join(h.host.State, SocketName)
	// The lock on the root directory says that nobody serves there; what is left is from a process that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("remove stale socket: %w", err)
	}
	listener, err := unixsocket.Listen(ctx, path)
	if err != nil {
		return "", fmt.Errorf("listen for containerd clients in the root directory: %w", err)
	}
	s := &server{done: make(chan struct{}), grpc: grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.ChainUnaryInterceptor(unaryNamespace), grpc.ChainStreamInterceptor(streamNamespace),
	)}
	if err := h.services.register(s.grpc); err != nil {
		listener.Close()
		return "", err
	}
	h.server = s
	go func() {
		defer close(s.done)
		if err := s.grpc.Serve(listener); err != nil {
			log.G(ctx).WithError(err).Error("containerd socket failed")
		}
	}()
	return path, nil
}

// close waits for running calls until ctx ends, then cuts them off.
func (s *server) close(ctx context.Context) {
	go func() {
		select {
		case <-ctx.Done():
			s.grpc.Stop()
		case <-s.done:
		}
	}()
	s.grpc.GracefulStop()
	<-s.done
}

// withNamespace copies the namespace of an incoming call to where in-process code and outgoing calls look for it.
func withNamespace(ctx context.Context) context.Context {
	if ns, ok := namespaces.Namespace(ctx); ok {
		return namespaces.WithNamespace(ctx, ns)
	}
	return ctx
}

func unaryNamespace(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(withNamespace(ctx), req)
}

func streamNamespace(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &namespacedStream{ServerStream: ss, ctx: withNamespace(ss.Context())})
}

// namespacedStream is a server stream whose context has been through withNamespace.
type namespacedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *namespacedStream) Context() context.Context { return s.ctx }
