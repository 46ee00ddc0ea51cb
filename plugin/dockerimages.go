package plugin

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/image"
	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/system"
	export "github.com/kilnbuild/kiln/solver/export/image"
)

// imageStore is what clients of the Docker API have of the host's images.
func (b *Builder) imageStore() *imagestore.Store {
	h := &b.host
	return imagestore.New(imagestore.Config{
		Namespace: h.Namespace, Content: h.Content, Images: h.Images, Leases: h.Leases, Snapshotter: h.Snapshotter,
		SnapshotterName: h.SnapshotterName, Applier: h.Applier, Comparer: h.Comparer, Collect: h.GarbageCollect, Sync: h.Sync,
		Registries: b.registries, Events: b.events,
	})
}

// aboutEngine is what clients of the Docker API are told of the daemon.
func (b *Builder) aboutEngine(store *imagestore.Store, list *image.Server) (system.Config, error) {
	id, err := workerID(b.host.Root)
	if err != nil {
		return system.Config{}, err
	}
	out := system.Config{
		Version: b.version.Version, Revision: b.version.Revision, ID: id, Root: b.host.Root, Snapshotter: b.host.SnapshotterName,
		Namespace: b.host.Namespace, Runtime: b.config.Workers.OCI.Binary, CDISpecDirs: b.config.CDI.SpecDirs,
		Registries: map[string]system.Registry{}, Refs: b.refs, Events: b.events, SignIn: store.SignIn, CountImages: store.Count, ImagesSize: store.Size,
		Images: func(ctx context.Context, v route.Version) ([]*image.Summary, error) {
			return list.Summaries(ctx, imagestore.Filter{}, true, v)
		},
	}
	if out.Runtime == "" {
		out.Runtime = "runc"
	}
	for host, r := range b.config.Registry {
		out.Registries[host] = system.Registry{Mirrors: r.Mirrors, Insecure: r.Insecure != nil && *r.Insecure}
	}
	return out, nil
}

// engineImages has the exporter for the Docker API tell of what it names.
func (b *Builder) engineImages(cfg export.Config) export.Config {
	cfg.Images = announcer{cfg.Images, b.events}
	return cfg
}

// announcer is an image store that tells of new names.
type announcer struct {
	images.Store
	events *event.Hub
}

// Create implements images.Store.
func (a announcer) Create(ctx context.Context, im images.Image) (images.Image, error) {
	out, err := a.Store.Create(ctx, im)
	if err == nil {
		a.tell(im)
	}
	return out, err
}

// Update implements images.Store.
func (a announcer) Update(ctx context.Context, im images.Image, fields ...string) (images.Image, error) {
	out, err := a.Store.Update(ctx, im, fields...)
	if err == nil {
		a.tell(im)
	}
	return out, err
}

func (a announcer) tell(im images.Image) {
	if imagestore.Dangling(im.Name) {
		return
	}
	a.events.Publish(event.Event{Type: event.TypeImage, Action: "tag", ID: im.Target.Digest.String(),
		Attributes: map[string]string{"name": imagestore.Familiar(im)}})
}
