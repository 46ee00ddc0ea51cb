package register

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"
	containerd "github.com/containerd/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/dirlock"
	"github.com/kilnbuild/kiln/solver/control"
	"github.com/kilnbuild/kiln/solver/progress"
)

// closeWait bounds how long running builds may take to end when containerd stops.
const closeWait = 10 * time.Second

// Version is what clients are told. A program sets it before containerd starts.
var Version control.Version

// builder is the plugin's instance.
type builder struct {
	ctx       context.Context //nolint:containedctx // Close has none, and the logger is in it
	assembled *plugin.Builder
	traces    *tracing
	lock      *os.File
	namespace string
}

// newBuilder puts a builder together on what the containerd has.
func newBuilder(ic *containerd.InitContext) (_ any, err error) {
	section, ok := ic.Config.(*Section)
	if !ok {
		return nil, fmt.Errorf("configuration of builder %s is a %T", Name, ic.Config)
	}
	cfg, namespace, warnings, err := section.read()
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		log.G(ic.Context).Warnf("configuration of builder %s: %s", Name, w)
	}
	host, err := newHost(ic, namespace, cfg.Workers.OCI.Snapshotter)
	if err != nil {
		return nil, err
	}
	for dir, mode := range map[string]os.FileMode{host.Root: 0o700, host.State: 0o711} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	ctx := namespaces.WithNamespace(ic.Context, namespace)
	b := &builder{ctx: ctx, namespace: namespace}
	if b.lock, err = dirlock.Take(host.Root); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.lock.Close())
		}
	}()
	if err := ensureNamespace(ctx, host.Namespaces, namespace, host.SnapshotterName); err != nil {
		return nil, err
	}
	cfg.Root = host.Root
	if b.traces, err = openTracing(ctx, host.State); err != nil {
		return nil, err
	}
	// containerd's own metrics are in the same registry, and its metrics plugin serves all of it.
	b.assembled, err = plugin.Assemble(ctx, plugin.Options{
		Host: host, Config: cfg, Version: Version, Executor: "containerd", Logs: progress.DefaultLogLimits(),
		Traces: b.traces.tracer, TraceSocket: b.traces.socket, Metrics: prometheus.DefaultRegisterer,
	})
	if err != nil {
		return nil, errors.Join(err, b.traces.close(context.WithoutCancel(ctx)))
	}
	log.G(ctx).Infof("building images in namespace %s, on snapshotter %s", namespace, host.SnapshotterName)
	return b, nil
}

// Register adds the services to containerd's own server.
func (b *builder) Register(server *grpc.Server) error {
	b.assembled.Control.RegisterShared(registrar{server, b.namespace, b.traces.tracer})
	return nil
}

// Close ends running builds.
func (b *builder) Close() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), closeWait)
	defer cancel()
	return errors.Join(b.assembled.Close(ctx), b.traces.close(ctx), b.lock.Close())
}
