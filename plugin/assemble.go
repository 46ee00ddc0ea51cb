package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/control"
	"github.com/kilnbuild/kiln/solver/executor/network"
	"github.com/kilnbuild/kiln/solver/executor/runc"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/graph"
	"github.com/kilnbuild/kiln/solver/op/exec"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/provenance"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/trace"
)

// Options are what a builder is made of, beside its host.
type Options struct {
	Host Host
	// Config is the whole configuration; defaults are filled in.
	Config *config.Config
	// Version is told to clients.
	Version control.Version
	// Executor is "oci" for the embedded host, "containerd" otherwise; clients
	// read it from the worker's labels.
	Executor string
	// Logs bounds the output of steps.
	Logs progress.LogLimits
	// Traces follows builds; nil follows none. Whoever made it closes it after
	// the builder.
	Traces *trace.Tracer
	// TraceSocket takes spans from steps; empty for none.
	TraceSocket string
	// Metrics gets the builder's metrics until Close; nil gets none.
	Metrics prometheus.Registerer
}

// Builder is an assembled builder.
type Builder struct {
	// Control has the gRPC services.
	Control *control.Server
	// Builds has the running builds.
	Builds *build.Builder
	// Cache is for looking into the build cache.
	Cache cache.Inspector

	host       Host
	version    control.Version
	sessions   *session.Manager
	registries *registry.Client
	refs       *ref.Store
	graph      *graph.Solver
	// config is the configuration at the start.
	config *config.Config
	// events is told what happens to images, for clients of the Docker API.
	events *event.Hub
	// networks gives steps their networks.
	networks *network.Networks
	// gateway is the machine's address there.
	gateway string
	// closers are called in reverse.
	closers []func(ctx context.Context) error
	// forget are called after a prune that a client asked for.
	forget []func(ctx context.Context) error
	slots  *slots
	prune  pruner
}

// Assemble puts a builder together. It starts no build; background work ends
// with ctx or Close.
func Assemble(ctx context.Context, opt Options) (b *Builder, err error) {
	b = &Builder{host: opt.Host, version: opt.Version, sessions: session.NewManager(), config: opt.Config, events: event.NewHub(nil)}
	// A return of nil sets b before this runs.
	defer func(b *Builder) {
		if err != nil {
			err = errors.Join(err, b.Close(context.WithoutCancel(ctx)))
		}
	}(b)
	sessions := b.sessions
	results, err := b.openState(ctx, opt)
	if err != nil {
		return nil, err
	}
	b.Cache = results
	b.graph = graph.New(graph.Config{Cache: results, Ahead: true, Span: opt.Traces.Start,
		Fault: func(err error) { log.G(ctx).WithError(err).Warn("solver") }})
	b.later(b.graph.Close)
	registries, err := newRegistries(opt.Config, sessions, opt.Version.Version)
	if err != nil {
		return nil, err
	}
	b.registries = registries
	b.later(func(context.Context) error { registries.Close(); return nil })
	sources, err := b.newSources(registries, sessions, opt.Version.Version)
	if err != nil {
		return nil, err
	}
	machine, err := newMachine(ctx, opt.Config)
	if err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { return machine.emulators.Close() })
	makers, err := b.newOps(ctx, opt, machine, sources, sessions)
	if err != nil {
		return nil, err
	}
	past, err := b.openHistory(ctx, opt)
	if err != nil {
		return nil, err
	}
	worker, err := b.worker(ctx, opt)
	if err != nil {
		return nil, err
	}
	b.prune = pruner{refs: b.refs, collect: opt.Host.GarbageCollect, kick: make(chan struct{}, 1)}
	b.prune.set(b.policies(opt.Config))
	idle := &idler{}
	b.later(idle.close)
	sampler := provenance.NewSampler()
	observers := []build.Observer{past, flusher{results}, &b.prune, idle, sampler}
	if opt.Metrics != nil {
		counts, unregister, err := newMetrics(opt.Metrics, b.measured(results))
		if err != nil {
			return nil, err
		}
		b.later(func(context.Context) error { unregister(); return nil })
		observers = append(observers, counts)
	}
	attesters, err := newAttesters(opt, sampler)
	if err != nil {
		return nil, err
	}
	frontends, err := newFrontends(opt.Config)
	if err != nil {
		return nil, err
	}
	b.Builds = build.New(build.Config{
		Attesters: attesters,
		Graph:     b.graph, Sessions: sessions, Sources: sources, NewOp: makers.new, NewContainer: makers.newContainer, Worker: worker,
		Frontends: frontends, Exporters: b.newExporters(registries, sessions, opt.Version.Version),
		Caches: b.newCaches(registries, sessions), LocalCache: b.localCache(results), Entitlements: machine.entitlements,
		Platforms: machine.platforms(ctx, opt.Config), Devices: machine.devices,
		Observers: observers, DisabledCaps: disabledCaps, ProxyNetwork: opt.Config.ProxyNetwork, Span: opt.Traces.Start,
	})
	b.Control = control.New(control.Config{
		Builder: b.Builds, Sessions: sessions, Refs: b.refs, History: past,
		Content: contentserver.New(remembered{opt.Host.Content, historyNamespace(opt.Host.Namespace)}),
		Version: opt.Version, Traces: opt.Traces.Service(), GCPolicies: b.shown, Pruned: b.pruned,
	})
	run, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); b.prune.run(run) }()
	b.later(func(context.Context) error { stop(); <-done; return nil })
	b.sweepLater(ctx)
	idle.start()
	return b, nil
}

// later calls fn at Close, before what was opened earlier is closed.
func (b *Builder) later(fn func(ctx context.Context) error) { b.closers = append(b.closers, fn) }

// Close ends everything in the reverse order of its making.
func (b *Builder) Close(ctx context.Context) error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i](ctx))
	}
	b.closers = nil
	return errors.Join(errs...)
}

// The file of the build cache. Its older name is also buildkitd's, whose state
// may be in the same directory.
const (
	cacheName      = "kiln-cache.db"
	olderCacheName = "cache.db"
)

// openState opens refs and the cache over them.
func (b *Builder) openState(ctx context.Context, opt Options) (*cache.Bolt, error) {
	h := &b.host
	cfg := ref.Config{
		Root: filepath.Join(h.Root, "refs"), Namespace: h.Namespace, Snapshotter: h.Snapshotter, SnapshotterName: h.SnapshotterName,
		Content: h.Content, Leases: h.Leases, Comparer: layerDiffer{h}, Applier: layerDiffer{h},
		GC: h.GarbageCollect, Durable: h.Sync,
	}
	layerAbilities(h, &cfg)
	var err error
	if b.refs, err = ref.Open(ctx, cfg); err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { return b.refs.Close() })
	keys := filepath.Join(h.Root, cacheName)
	foreign, err := cache.Adopt(filepath.Join(h.Root, olderCacheName), keys)
	if err != nil {
		return nil, err
	}
	if foreign {
		log.G(ctx).Infof("%s in %s is another builder's: it is left as it is, kiln's own is %s", olderCacheName, h.Root, cacheName)
	}
	results, err := cache.OpenBolt(keys, b.refs, cache.BoltOptions{
		Fault: func(err error) { log.G(ctx).WithError(err).Warn("build cache") },
	})
	if err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { return results.Close() })
	b.refs.OnRemove(func(id string) {
		if err := results.Forget(context.WithoutCancel(ctx), id); err != nil {
			log.G(ctx).WithError(err).Warnf("forget cache records of %s", id)
		}
	})
	return results, nil
}

// newOps makes what ops share: the executor and its directories.
func (b *Builder) newOps(ctx context.Context, opt Options, m *machine, sources *source.Registry, sessions *session.Manager) (*ops, error) {
	w := &opt.Config.Workers.OCI
	dns := runc.DNS{}
	if d := opt.Config.DNS; d != nil {
		dns = runc.DNS{Nameservers: d.Nameservers, Search: d.SearchDomains, Options: d.Options}
	}
	proxies, err := b.openNetworks(ctx, opt)
	if err != nil {
		return nil, err
	}
	runner, err := runc.New(ctx, runc.Config{
		Networks: b.networks, Proxies: proxies,
		Root: filepath.Join(b.host.Root, "executor"), Runtime: w.Binary, DNS: dns, CgroupParent: w.DefaultCgroupParent,
		Mount: snapshotter.Mount, Devices: m.devices, Emulators: m.emulators,
		Rootless: w.Rootless, NoProcessSandbox: w.NoProcessSandbox,
	})
	if err != nil {
		return nil, err
	}
	secrets, err := secretDir(b.host.State)
	if err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { return os.RemoveAll(secrets) })
	b.slots = newSlots(w.MaxParallelism)
	return &ops{
		refs: b.refs, sources: sources,
		exec: exec.Config{Executor: runner, Refs: b.refs, Sessions: sessions, Slots: b.slots, Logs: opt.Logs, SecretDir: secrets,
			Tracing: tracing(opt)},
	}, nil
}

// labelPrefix starts the names of worker labels that clients read.
const labelPrefix = "org.mobyproject.buildkit.worker."

// worker describes the builder to clients.
func (b *Builder) worker(ctx context.Context, opt Options) (frontend.WorkerInfo, error) {
	host, err := os.Hostname()
	if err != nil {
		return frontend.WorkerInfo{}, err
	}
	id, err := workerID(b.host.Root)
	if err != nil {
		return frontend.WorkerInfo{}, err
	}
	w := frontend.WorkerInfo{ID: id, Labels: map[string]string{
		labelPrefix + "executor": opt.Executor, labelPrefix + "snapshotter": b.host.SnapshotterName,
		labelPrefix + "hostname": host, labelPrefix + "network": b.networks.Label(), labelPrefix + "oci.process-mode": "sandbox",
		labelPrefix + "selinux.enabled":      "false",
		labelPrefix + "containerd.namespace": b.host.Namespace,
	}}
	if gateway := b.networks.Gateway(); gateway.IsValid() {
		b.gateway = gateway.String()
		w.Labels[labelPrefix+"moby.host-gateway-ip"] = b.gateway
	}
	if opt.Executor == "containerd" {
		if w.Labels[labelPrefix+"containerd.uuid"], err = b.host.UUID(ctx); err != nil {
			return w, err
		}
	}
	for k, v := range opt.Config.Workers.OCI.Labels {
		w.Labels[k] = v
	}
	w.Platforms, err = workerPlatforms(opt.Config.Workers.OCI.Platforms)
	return w, err
}

// workerID is made once and kept with the state.
func workerID(root string) (string, error) {
	path := filepath.Join(root, "workerid")
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return string(data), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read worker id: %w", err)
	}
	id := newWorkerID()
	return id, os.WriteFile(path, []byte(id), 0o400)
}

func workerPlatforms(names []string) ([]ocispecs.Platform, error) {
	if len(names) == 0 {
		return []ocispecs.Platform{platforms.Normalize(platforms.DefaultSpec())}, nil
	}
	var out []ocispecs.Platform
	for _, n := range names {
		p, err := platforms.Parse(n)
		if err != nil {
			return nil, fmt.Errorf("worker platform %q: %w", n, err)
		}
		out = append(out, platforms.Normalize(p))
	}
	return out, nil
}

// policies are the rules of garbage collection for the disk the state is on.
func (b *Builder) policies(cfg *config.Config) []config.Policy {
	var st unix.Statfs_t
	var size int64
	if unix.Statfs(b.host.Root, &st) == nil {
		size = int64(st.Blocks) * st.Bsize
	}
	return cfg.Workers.OCI.GCPolicies(size)
}

// shown are the rules of garbage collection as clients see them.
func (b *Builder) shown() []control.GCPolicy {
	var out []control.GCPolicy
	for _, p := range b.prune.rules() {
		out = append(out, control.GCPolicy{
			All: p.All, Filters: p.Filters, KeepDuration: p.KeepDuration,
			ReservedSpace: p.Reserved, MaxUsedSpace: p.MaxUsed, MinFreeSpace: p.MinFree,
		})
	}
	return out
}
