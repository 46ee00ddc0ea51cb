package main

import (
	"context"

	"google.golang.org/grpc"
)

// draining ends the calls of a server with the first signal: builds are
// cancelled, and clients that only watch are let go, so that an orderly stop
// waits for the end of work and not for the end of interest.
func draining(stop context.Context) []grpc.ServerOption {
	tie := func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		undo := context.AfterFunc(stop, func() { cancel(context.Cause(stop)) })
		return ctx, func() { undo(); cancel(nil) }
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			ctx, untie := tie(ctx)
			defer untie()
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			ctx, untie := tie(ss.Context())
			defer untie()
			return next(srv, &tiedStream{ss, ctx})
		}),
	}
}

// tiedStream is a stream that ends with the daemon.
type tiedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC streams carry theirs
}

// Context returns the tied context.
func (s *tiedStream) Context() context.Context { return s.ctx }
