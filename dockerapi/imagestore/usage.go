package imagestore

import "context"

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
