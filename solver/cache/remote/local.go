package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Local is the builder's own side of shared caches; all fields are required.
type Local struct {
	// Keys is the local cache, Refs has its results.
	Keys cache.Inspector
	Refs *ref.Store
	// Content is the local content store.
	Content content.Provider
	// Transfer brings a blob into it, under the lease in ctx.
	Transfer func(ctx context.Context, from *Origin, desc ocispecs.Descriptor) error
	// Hold returns ctx in the namespace of Content and with a lease that keeps
	// what is transferred until release.
	Hold func(ctx context.Context) (_ context.Context, release func(), err error)
}

// NewLevel returns a level of lookup for caches still to be read.
func (l *Local) NewLevel() *Level {
	return NewLevel(LevelConfig{Refs: l.Refs, Transfer: l.Transfer, Expand: l.expand})
}

// Load makes a file system of an imported result, fetching what is not here; the
// caller releases it.
func (l *Local) Load(ctx context.Context, s *Stack) (*ref.Ref, error) {
	r, err := load(ctx, l.Refs, l.Transfer, s)
	if err != nil {
		return nil, fmt.Errorf("load result from %s: %w", s.From.Name, err)
	}
	return r, nil
}

// expand is an Expand.
func (l *Local) expand(ctx context.Context, id digest.Digest) (cache.Structure, bool) {
	var out *cache.Node
	err := l.Keys.Walk(ctx, id, func(n cache.Node) error {
		out = &n
		return errEnough
	})
	if out == nil || err != nil && !errors.Is(err, errEnough) {
		return cache.Structure{}, false
	}
	return out.Structure, true
}

// Provider reads the blobs of a bundle under a context from Hold. Those that
// are elsewhere are transferred when somebody wants to read them: a registry
// that has them is never asked for them.
func (l *Local) Provider(b *Bundle) content.Provider {
	p := &provider{local: l, from: map[digest.Digest]Blob{}}
	for _, blob := range b.Blobs {
		if blob.From != nil {
			p.from[blob.Descriptor.Digest] = blob
		}
	}
	return p
}

// provider is the blobs of one bundle.
type provider struct {
	local *Local
	from  map[digest.Digest]Blob
}

// ReaderAt implements content.Provider.
func (p *provider) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	ra, err := p.local.Content.ReaderAt(ctx, desc)
	blob, elsewhere := p.from[desc.Digest]
	if !errdefs.IsNotFound(err) || !elsewhere {
		return ra, err
	}
	if err := p.local.Transfer(ctx, blob.From, blob.Descriptor); err != nil {
		return nil, err
	}
	return p.local.Content.ReaderAt(ctx, desc)
}
