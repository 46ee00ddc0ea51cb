package plugin

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/cache/remote/azblob"
	"github.com/kilnbuild/kiln/solver/cache/remote/gha"
	"github.com/kilnbuild/kiln/solver/cache/remote/local"
	cacheregistry "github.com/kilnbuild/kiln/solver/cache/remote/registry"
	"github.com/kilnbuild/kiln/solver/cache/remote/s3"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source/image"
)

// newCaches makes the places of remote caches by their wire names.
func (b *Builder) newCaches(registries *registry.Client, sessions *session.Manager) map[string]remote.Backend {
	h := &b.host
	labels := func(ctx context.Context, desc ocispecs.Descriptor) map[string]string {
		info, err := h.Content.Info(namespaces.WithNamespace(ctx, h.Namespace), desc.Digest)
		if err != nil {
			// Then it is not known where else the blob is.
			return nil
		}
		return info.Labels
	}
	return map[string]remote.Backend{
		"registry": cacheregistry.New(registries, labels),
		"local":    local.New(sessions),
		"s3":       s3.Backend{},
		"azblob":   azblob.Backend{},
		"gha":      gha.Backend{UserAgent: "kiln"},
	}
}

// localCache is the builder's side of remote caches.
func (b *Builder) localCache(keys cache.Inspector) *remote.Local {
	h := &b.host
	puller := image.NewPuller(image.Config{Refs: b.refs, Content: h.Content, Leases: h.Leases, Namespace: h.Namespace})
	return &remote.Local{
		Keys: keys, Refs: b.refs, Content: namespaced{h},
		Transfer: func(ctx context.Context, from *remote.Origin, desc ocispecs.Descriptor) error {
			return puller.Transfer(ctx, cacheOrigin{from}, from.Name, from.Repository, desc)
		},
		Hold: func(ctx context.Context) (context.Context, func(), error) {
			return manifest.Hold(ctx, h.Leases, h.Namespace)
		},
	}
}

// namespaced reads the content store whatever namespace a caller is in.
type namespaced struct{ host *Host }

// ReaderAt implements content.Provider.
func (n namespaced) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	return n.host.Content.ReaderAt(namespaces.WithNamespace(ctx, n.host.Namespace), desc)
}

// cacheOrigin is an imported cache as an origin of blobs.
type cacheOrigin struct{ *remote.Origin }

// Resolve returns nothing: blobs of caches are known by digest.
func (cacheOrigin) Resolve(context.Context) (ocispecs.Descriptor, error) {
	return ocispecs.Descriptor{}, nil
}

var _ image.Origin = cacheOrigin{}
