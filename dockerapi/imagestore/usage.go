package imagestore

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Count is how many images there are.
func (s *Store) Count(ctx context.Context) (int, error) {
	all, err := s.cfg.Images.List(s.ctx(ctx))
	if err != nil {
		return 0, err
	}
	ids := map[digest.Digest]bool{}
	for _, im := range all {
		ids[im.Target.Digest] = true
	}
	return len(ids), nil
}

// Size is how many bytes all images hold together, blobs and snapshots.
func (s *Store) Size(ctx context.Context) (int64, error) {
	ctx = s.ctx(ctx)
	list, err := s.List(ctx, Filter{})
	if err != nil {
		return 0, err
	}
	held := newHeld()
	for _, l := range list {
		if err := s.measure(ctx, l, held); err != nil {
			return 0, err
		}
	}
	var total int64
	for _, n := range held.blobs {
		total += n
	}
	for _, n := range held.snapshots {
		total += n
	}
	return total, nil
}
