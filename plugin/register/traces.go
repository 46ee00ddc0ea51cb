package register

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/containerd/log"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/control"
	"github.com/kilnbuild/kiln/solver/trace"
)

// tracing is the builder's tracer with the socket that steps send their spans to.
type tracing struct {
	tracer *trace.Tracer
	// socket is empty and server nil where steps cannot send any.
	socket string
	server *grpc.Server
}

// openTracing makes the tracer that containerd's environment describes, by the variables that containerd's own tracing
// reads too. What cannot be had is told of, and builds go on without.
func openTracing(ctx context.Context, state string) (*tracing, error) {
	exporter, err := trace.FromEnv(os.Getenv)
	if err != nil {
		log.G(ctx).WithError(err).Warn("traces of builds are not sent anywhere")
	}
	t := &tracing{}
	t.tracer, err = trace.New(ctx, trace.Config{
		Exporter: exporter, Service: "containerd", Version: Version.Version,
		Fault: func(err error) { log.G(ctx).WithError(err).Warn("tracing") },
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(state, "otel-grpc.sock")
	if t.server, err = serveSpans(ctx, path, t.tracer); err != nil {
		log.G(ctx).WithError(err).Warn("steps cannot send traces")
		return t, nil
	}
	t.socket = path
	return t, nil
}

// serveSpans takes spans of steps at path, which nobody else serves: the directory is the builder's alone.
func serveSpans(ctx context.Context, path string, t *trace.Tracer) (*grpc.Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// Steps run as whatever user they like. Nothing can be read from the socket.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket for all users: %w", err), listener.Close())
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(control.MaxMessage))
	collector.RegisterTraceServiceServer(server, t.Service())
	go func() {
		if err := server.Serve(listener); err != nil {
			log.G(ctx).WithError(err).Warn("socket for traces failed")
		}
	}()
	return server, nil
}

// close sends what is left, or as much as ctx allows.
func (t *tracing) close(ctx context.Context) error {
	if t.server != nil {
		t.server.Stop()
	}
	return t.tracer.Close(ctx)
}
