package register

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/trace"
)

// registrar adds to services what kilnd's own server adds to all calls: errors with their details, a namespace for
// clients that name none, and the spans of builds. containerd's server does not, and its options are not ours to set.
type registrar struct {
	grpc.ServiceRegistrar
	namespace string
	traces    *trace.Tracer
}

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	wrapped := *desc
	wrapped.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		wrapped.Methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: r.method(m)}
	}
	wrapped.Streams = make([]grpc.StreamDesc, len(desc.Streams))
	for i, s := range desc.Streams {
		wrapped.Streams[i] = s
		// The server keeps what it knows of the call to its own interceptors.
		info := &grpc.StreamServerInfo{
			FullMethod: "/" + desc.ServiceName + "/" + s.StreamName, IsClientStream: s.ClientStreams, IsServerStream: s.ServerStreams,
		}
		wrapped.Streams[i].Handler = func(srv any, ss grpc.ServerStream) error {
			return rpcerr.StreamServer(srv, &scopedStream{ss, r.scoped(ss.Context())}, info, func(srv any, ss grpc.ServerStream) error {
				return r.traces.StreamServer(srv, ss, info, s.Handler)
			})
		}
	}
	r.ServiceRegistrar.RegisterService(&wrapped, impl)
}

// method wraps one unary method. The server's own interceptors stay outside.
func (r registrar) method(m grpc.MethodDesc) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, outer grpc.UnaryServerInterceptor) (any, error) {
		inner := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			return rpcerr.UnaryServer(r.scoped(ctx), req, info, func(ctx context.Context, req any) (any, error) {
				return r.traces.UnaryServer(ctx, req, info, next)
			})
		}
		if outer == nil {
			return m.Handler(srv, ctx, decode, inner)
		}
		return m.Handler(srv, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			return outer(ctx, req, info, func(ctx context.Context, req any) (any, error) { return inner(ctx, req, info, next) })
		})
	}
}

func (r registrar) scoped(ctx context.Context) context.Context {
	if _, ok := namespaces.Namespace(ctx); ok {
		return ctx
	}
	return namespaces.WithNamespace(ctx, r.namespace)
}

// scopedStream is a stream with another context.
type scopedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC streams carry theirs
}

// Context returns the replaced context.
func (s *scopedStream) Context() context.Context { return s.ctx }
