package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"

	"github.com/kilnbuild/kiln/cmd/kilnd/diagnose"
	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/stateformat"
	"github.com/kilnbuild/kiln/solver/control"
	"github.com/kilnbuild/kiln/solver/trace"
	"github.com/kilnbuild/kiln/systemd"
)

// gracePeriod is how long calls may take to end after the first signal.
const gracePeriod = 10 * time.Second

// How connections are kept alive. A client whose machine is gone says nothing:
// its builds end when it has not answered for aliveAfter and aliveWithin.
const (
	pingEvery   = 5 * time.Second
	aliveAfter  = 2 * time.Minute
	aliveWithin = time.Minute
)

// run serves until a signal or a failure, then closes everything in the reverse order.
func run(stop *stopping, s *Settings) (err error) {
	if err := os.MkdirAll(s.Root, 0o700); err != nil {
		return fmt.Errorf("make root directory: %w", err)
	}
	older, err := stateformat.Check(s.Root)
	if err != nil {
		return err
	}
	if older != "" {
		log.G(stop.run).Infof("the state is of an older version: a copy of its databases is kept in %s, remove it when you will not go back", older)
	}
	if err := prepareRootless(stop.run, s); err != nil {
		return err
	}
	s.placeSteps(stop.run)
	// Listeners come before the state: clients of a socket unit wait in its queue.
	v, err := openService(systemd.Process())
	if err != nil {
		return err
	}
	defer func() { _ = v.sockets.Close() }()
	v.claim(s)
	options, err := v.options(s)
	if err != nil {
		return err
	}
	listeners, err := listen.Open(stop.run, s.GRPC.Address, options)
	if err != nil {
		return err
	}
	defer closeListeners(listeners)
	docker, err := openDocker(stop.run, s.DockerAddrs, options)
	if err != nil {
		return err
	}
	defer docker.close()
	docker.entitle(s)

	host, err := openHost(stop.run, s)
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(stop.shutdown, gracePeriod)
		defer cancel()
		err = errors.Join(err, host.Close(grace), context.Cause(stop.shutdown))
	}()
	if err := prometheus.Register(requests); err != nil {
		return fmt.Errorf("register metrics of requests: %w", err)
	}
	defer prometheus.Unregister(requests)
	diagnoser := diagnose.New(diagnose.Config{
		Version: versionLine("kilnd"), Settings: s.Told(), Root: s.Root, Metrics: prometheus.DefaultGatherer, Environ: os.Environ, Now: time.Now,
	})
	if s.GRPC.DebugAddress != "" {
		if err := serveDebug(stop.run, s.GRPC.DebugAddress, diagnoser.Handler()); err != nil {
			return err
		}
	}
	traces, err := openTraces(stop.run)
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(stop.shutdown, gracePeriod)
		defer cancel()
		err = errors.Join(err, traces.Close(grace))
	}()
	traceSocket, stopTraceSocket := serveTraces(stop.run, s.OTEL.SocketPath, traces)
	defer stopTraceSocket()
	builder, err := plugin.Assemble(stop.run, plugin.Options{
		Host: docker.host(host.Host()), Config: s.Config, Version: clientVersion(), Executor: s.executor(), Logs: logLimits(os.Getenv),
		Traces: traces, TraceSocket: traceSocket, Metrics: prometheus.DefaultRegisterer,
	})
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(stop.shutdown, gracePeriod)
		defer cancel()
		err = errors.Join(err, builder.Close(grace))
	}()
	go watchHangups(stop.run, s, builder, v)
	server, checks := newServer(stop.run, s.Namespace, traces)
	builder.Control.Register(server)
	diagnoser.SetCache(builder.Cache)
	diagnoser.Register(server)
	if err := docker.assemble(stop.run, builder); err != nil {
		return err
	}
	return serve(stop, server, checks, listeners, docker, func(ctx context.Context) func() {
		return v.serving(ctx, stop, s, builder)
	})
}

// newServer makes the gRPC server with what every listener has.
func newServer(stop context.Context, namespace string, traces *trace.Tracer) (*grpc.Server, *health.Server) {
	useBuffers()
	opts := append(control.ServerOptions(namespace), draining(stop)...)
	opts = append(opts, counting()...)
	opts = append(opts, grpc.ChainUnaryInterceptor(traces.UnaryServer), grpc.ChainStreamInterceptor(traces.StreamServer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveAfter, Timeout: aliveWithin}))
	server := grpc.NewServer(opts...)
	checks := health.NewServer()
	healthpb.RegisterHealthServer(server, checks)
	reflection.Register(server)
	return server, checks
}

// useBuffers gives gRPC a size of buffers between 32 KiB and 1 MiB. Clients send
// pieces of files as messages of 32 KiB and a little, and gRPC clears the whole
// buffer that it takes for one.
func useBuffers() {
	pool, err := mem.NewBinaryTieredBufferPool(8, 12, 14, 15, 16, 18, 20)
	if err != nil {
		return // The default is as good, but for the time it takes.
	}
	experimental.SetDefaultBufferPool(pool)
}

// serve runs the server on all listeners until the first signal. It calls ready
// when it serves, and what that returns when it ends.
func serve(stop *stopping, server *grpc.Server, checks *health.Server, listeners []net.Listener, docker *dockerDoor,
	ready func(context.Context) func()) error {
	group, ctx := errgroup.WithContext(stop.run)
	docker.serve(ctx, group)
	for _, l := range append(docker.grpc(), listeners...) {
		group.Go(func() error {
			if err := server.Serve(l); err != nil {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
		log.G(ctx).Infof("serving %s", l.Addr())
	}
	stopping := ready(ctx)
	group.Go(func() error {
		<-ctx.Done()
		stopping()
		checks.Shutdown()
		cut, cancel := context.WithTimeout(stop.shutdown, gracePeriod)
		defer cancel()
		defer context.AfterFunc(cut, server.Stop)()
		docker.shutdown(cut)
		server.GracefulStop()
		return nil
	})
	return group.Wait()
}

func closeListeners(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
