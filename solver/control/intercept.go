package control

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// ServerOptions are what a gRPC server that Register is called on needs:
// limits, errors with their details, and the namespace in which clients that
// name none read content.
func ServerOptions(namespace string) []grpc.ServerOption {
	scoped := func(ctx context.Context) context.Context {
		if _, ok := namespaces.Namespace(ctx); ok {
			return ctx
		}
		return namespaces.WithNamespace(ctx, namespace)
	}
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.InitialWindowSize(4 << 20), grpc.InitialConnWindowSize(8 << 20),
		grpc.ChainUnaryInterceptor(rpcerr.UnaryServer, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			return next(scoped(ctx), req)
		}),
		grpc.ChainStreamInterceptor(rpcerr.StreamServer, func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return next(srv, &scopedStream{ss, scoped(ss.Context())})
		}),
	}
}

// scopedStream is a stream with another context.
type scopedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC streams carry theirs
}

// Context returns the replaced context.
func (s *scopedStream) Context() context.Context { return s.ctx }
