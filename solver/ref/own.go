package ref

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Own makes the ref keep blobs of the content store for as long as it exists,
// beside those of its layers: the manifest and the configuration of the image
// that it came from. Owning a blob again does nothing. It fails with errdefs
// NotFound if a blob is gone, or if the ref is.
func (r *Ref) Own(ctx context.Context, blobs ...digest.Digest) error {
	s, e := r.e.s, r.e
	for _, d := range blobs {
		res := leases.Resource{ID: d.String(), Type: "content"}
		if err := s.cfg.Leases.AddResource(s.ctx(ctx), leases.Lease{ID: e.lease}, res); err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("own blob %s: %w", d, err)
		}
		// Owned before it was looked for, so it cannot go in between.
		if _, err := s.cfg.Content.Info(s.ctx(ctx), d); err != nil {
			return fmt.Errorf("own blob %s: %w", d, err)
		}
	}
	return nil
}
