package imagestore

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// lease has the lease of ctx keep what an image consists of and is here, so
// that a name that moves meanwhile takes nothing away.
func (s *Store) lease(ctx context.Context, root ocispecs.Descriptor) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	return s.walk(ctx, root, func(d ocispecs.Descriptor) error {
		r := leases.Resource{ID: d.Digest.String(), Type: "content"}
		if err := s.cfg.Leases.AddResource(ctx, leases.Lease{ID: id}, r); err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("hold blob %s: %w", d.Digest, err)
		}
		return nil
	}, nil)
}
