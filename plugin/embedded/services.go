package embedded

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/core/events/exchange"
	"github.com/containerd/containerd/v2/core/introspection"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/transfer/local"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/containerd/v2/plugins"
	ctrservices "github.com/containerd/containerd/v2/plugins/services"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"

	// Each registers its service with containerd's registry, from which assemble takes it. None is started by that.
	_ "github.com/containerd/containerd/v2/core/transfer/archive"
	_ "github.com/containerd/containerd/v2/core/transfer/image"
	_ "github.com/containerd/containerd/v2/core/transfer/registry"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/healthcheck"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/streaming"
	_ "github.com/containerd/containerd/v2/plugins/services/transfer"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/streaming"
)

// stock lists containerd's own plugins that run unchanged, as type and id, in an order in which each finds what it
// needs. Their constructors are reachable only through the registry.
var stock = [][2]string{
	{string(plugins.WarningPlugin), plugins.DeprecationsPlugin},
	{string(plugins.LeasePlugin), "manager"},
	{string(plugins.StreamingPlugin), "manager"},
	{string(plugins.ServicePlugin), ctrservices.ContentService},
	{string(plugins.ServicePlugin), ctrservices.SnapshotsService},
	{string(plugins.ServicePlugin), ctrservices.ImagesService},
	{string(plugins.ServicePlugin), ctrservices.ContainersService},
	{string(plugins.ServicePlugin), ctrservices.NamespacesService},
	{string(plugins.ServicePlugin), ctrservices.IntrospectionService},
	{string(plugins.GRPCPlugin), "content"},
	{string(plugins.GRPCPlugin), "snapshots"},
	{string(plugins.GRPCPlugin), "images"},
	{string(plugins.GRPCPlugin), "containers"},
	{string(plugins.GRPCPlugin), "namespaces"},
	{string(plugins.GRPCPlugin), "introspection"},
	{string(plugins.GRPCPlugin), "leases"},
	{string(plugins.GRPCPlugin), "events"},
	{string(plugins.GRPCPlugin), "healthcheck"},
	{string(plugins.GRPCPlugin), "version"},
	{string(plugins.GRPCPlugin), "streaming"},
	{string(plugins.GRPCPlugin), "transfer"},
}

// parts are what kiln brings to the set itself.
type parts struct {
	root      string
	meta      *metadata.DB
	events    *exchange.Exchange
	collector *collector
	differ    Differ
}

// services are the plugins of one host.
type services struct {
	set           *plugin.Set
	leases        leases.Manager
	introspection introspection.Service
	differ        Differ
}

// assembly puts plugins into a set, one after the other.
type assembly struct {
	ctx        context.Context
	set        *plugin.Set
	properties map[string]string
	known      map[string]plugin.Registration
}

// assemble makes a plugin set of its own, so that several hosts do not share anything but the registrations.
func assemble(ctx context.Context, p parts) (*services, error) {
	a := &assembly{
		ctx: ctx, set: plugin.NewPluginSet(), known: map[string]plugin.Registration{},
		properties: map[string]string{plugins.PropertyRootDir: filepath.Join(p.root, "introspection")},
	}
	for _, r := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		a.known[r.URI()] = r
	}
	own := []struct {
		kind     plugin.Type
		id       string
		instance any
	}{
		{plugins.MetadataPlugin, "bolt", p.meta},
		{plugins.EventPlugin, "exchange", p.events},
		{plugins.GCPlugin, "scheduler", p.collector},
		{plugins.SnapshotPlugin, SnapshotterName, p.meta.Snapshotter(SnapshotterName)},
		{plugins.DiffPlugin, SnapshotterName, p.differ},
	}
	for _, o := range own {
		if _, err := a.add(plugin.Registration{
			Type: o.kind, ID: o.id,
			InitFn: func(*plugin.InitContext) (any, error) { return o.instance, nil },
		}); err != nil {
			return nil, err
		}
	}
	out := &services{set: a.set, differ: p.differ}
	for _, s := range stock {
		r, ok := a.known[s[0]+"."+s[1]]
		if !ok {
			return nil, fmt.Errorf("containerd plugin %s.%s is not linked in", s[0], s[1])
		}
		instance, err := a.add(r)
		if err != nil {
			return nil, err
		}
		switch r.URI() {
		case string(plugins.LeasePlugin) + ".manager":
			out.leases = instance.(leases.Manager)
			// The transfer service looks for its plugin, which needs the leases.
			if _, err := a.add(transferPlugin(p, out.leases)); err != nil {
				return nil, err
			}
		case string(plugins.ServicePlugin) + "." + ctrservices.IntrospectionService:
			out.introspection = instance.(introspection.Service)
		}
	}
	return out, nil
}

// add initialises one plugin and returns its instance.
func (a *assembly) add(r plugin.Registration) (any, error) {
	p := r.Init(plugin.NewContext(a.ctx, a.set, a.properties))
	if err := a.set.Add(p); err != nil {
		return nil, fmt.Errorf("add containerd plugin %s: %w", r.URI(), err)
	}
	instance, err := p.Instance()
	if err != nil {
		return nil, fmt.Errorf("start containerd plugin %s: %w", r.URI(), err)
	}
	return instance, nil
}

// transferPlugin is containerd's transfer service, unpacking with kiln's snapshotter and differ.
func transferPlugin(p parts, lm leases.Manager) plugin.Registration {
	return plugin.Registration{
		Type: plugins.TransferPlugin, ID: "local",
		InitFn: func(*plugin.InitContext) (any, error) {
			return local.NewTransferService(p.meta.ContentStore(), metadata.NewImageStore(p.meta), local.TransferConfig{
				Leases:                      lm,
				MaxConcurrentDownloads:      4,
				MaxConcurrentUploadedLayers: 4,
				UnpackPlatforms: []unpack.Platform{{
					Platform:       platforms.OnlyOS(platforms.DefaultSpec()),
					SnapshotterKey: SnapshotterName,
					Snapshotter:    p.meta.Snapshotter(SnapshotterName),
					Applier:        p.differ,
				}},
			}), nil
		},
	}
}

// register adds every service to a gRPC server.
func (s *services) register(server *grpc.Server) error {
	for _, p := range s.set.GetAll() {
		instance, err := p.Instance()
		if err != nil {
			return err
		}
		if r, ok := instance.(interface{ Register(*grpc.Server) error }); ok {
			if err := r.Register(server); err != nil {
				return fmt.Errorf("register service %s: %w", p.Registration.URI(), err)
			}
		}
	}
	diffapi.RegisterDiffServer(server, diffservice.FromApplierAndComparer(s.differ, s.differ))
	return nil
}

// uuid is the identity that clients of the socket see.
func (s *services) uuid(ctx context.Context) (string, error) {
	info, err := s.introspection.Server(ctx)
	if err != nil {
		return "", fmt.Errorf("read containerd identity: %w", err)
	}
	return info.UUID, nil
}
