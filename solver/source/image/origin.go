package image

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/registry"
)

// Origin is where the blobs of one image come from.
type Origin interface {
	// Resolve returns the root. The media type may be wrong: it is read again
	// from the document.
	Resolve(ctx context.Context) (ocispecs.Descriptor, error)
	// Fetch returns the bytes of a blob, not verified. If the reader is an
	// io.Seeker, a transfer that broke off goes on where it ended. The caller
	// closes it.
	Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error)
}

// Detour is an Origin that may give blobs of somebody else.
type Detour interface {
	// Direct returns the origin itself, or nil if this is it.
	Direct() Origin
}

// registryOrigin is a repository of a registry.
type registryOrigin struct{ *registry.Repository }

// Direct returns the repository without mirrors.
func (o registryOrigin) Direct() Origin {
	if !o.HasMirrors() {
		return nil
	}
	return registryOrigin{o.Origin()}
}

var _ Referrer = registryOrigin{}

// nowhere is the origin of images that must be there already.
type nowhere struct{}

// Resolve fails.
func (nowhere) Resolve(context.Context) (ocispecs.Descriptor, error) {
	return ocispecs.Descriptor{}, fmt.Errorf("image: %w", errdefs.ErrNotFound)
}

// Fetch fails.
func (nowhere) Fetch(_ context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	return nil, fmt.Errorf("blob %s: %w", desc.Digest, errdefs.ErrNotFound)
}
