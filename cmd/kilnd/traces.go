package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/log"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
	"github.com/kilnbuild/kiln/solver/control"
	"github.com/kilnbuild/kiln/solver/trace"
)

// openTraces makes the tracer that the environment describes.
func openTraces(ctx context.Context) (*trace.Tracer, error) {
	exporter, err := trace.FromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	v := clientVersion()
	return trace.New(ctx, trace.Config{
		Exporter: exporter, Service: "kilnd", Version: v.Version,
		Fault: func(err error) { log.G(ctx).WithError(err).Warn("tracing") },
	})
}

// serveTraces serves the socket that steps send spans to; anybody may write to
// it, and nothing can be read from it. Without it builds go on, so that a
// socket that cannot be opened is only told of; the path is empty then.
func serveTraces(ctx context.Context, path string, t *trace.Tracer) (_ string, stop func()) {
	server, err := openTraceSocket(ctx, path, t)
	if err != nil {
		log.G(ctx).WithError(err).Warn("steps cannot send traces")
		return "", func() {}
	}
	return path, server.Stop
}

func openTraceSocket(ctx context.Context, path string, t *trace.Tracer) (*grpc.Server, error) {
	if path == "" {
		return nil, errors.New("there is no path for the socket")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	listeners, err := listen.Open(ctx, []string{"unix://" + path}, listen.Options{})
	if err != nil {
		return nil, err
	}
	// Steps run as whatever user they like.
	if err := os.Chmod(path, 0o666); err != nil {
		closeListeners(listeners)
		return nil, fmt.Errorf("open socket for all users: %w", err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(control.MaxMessage))
	collector.RegisterTraceServiceServer(server, t.Service())
	go func() {
		if err := server.Serve(listeners[0]); err != nil {
			log.G(ctx).WithError(err).Warn("socket for traces failed")
		}
	}()
	return server, nil
}
