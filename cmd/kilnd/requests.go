package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// requests counts the calls of clients. Methods are those that are served:
// names that clients make up never get here.
var requests = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "kiln_requests_total", Help: "Calls that ended, by method and gRPC code.",
}, []string{"method", "code"})

// counting counts the calls of a server.
func counting() []grpc.ServerOption {
	count := func(method string, err error) { requests.WithLabelValues(method, rpcerr.Code(err).String()).Inc() }
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			resp, err := next(ctx, req)
			count(info.FullMethod, err)
			return resp, err
		}),
		grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			err := next(srv, ss)
			count(info.FullMethod, err)
			return err
		}),
	}
}
