package ref

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Sweep deletes the leases that earlier processes left without a record, and
// with them, at the next run of containerd's collector, what they held. It
// returns how many. Nothing depends on it but disk space: run it once after
// Open, in the background. It may run beside everything else.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	list, err := s.cfg.Leases.List(s.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelStore, s.id))
	if err != nil {
		return 0, fmt.Errorf("list leases: %w", err)
	}
	// Records are read after leases: a lease of an earlier process without a
	// record never gets one any more, since this process makes its own.
	owned := map[string]struct{}{}
	err = s.db.each(func(rec *record, _ usedRecord, _ int64) error {
		owned[rec.Lease] = struct{}{}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("list refs: %w", err)
	}
	var errs []error
	swept := 0
	for _, l := range list {
		if err := ctx.Err(); err != nil {
			return swept, errors.Join(append(errs, context.Cause(ctx))...)
		}
		if _, ok := owned[l.ID]; ok || l.Labels[labelRun] == s.run {
			continue
		}
		if err := s.deleteLease(ctx, l.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		if strings.HasPrefix(l.ID, leasePrefix) {
			s.removeIndexFile(l.ID)
		}
		swept++
	}
	return swept, errors.Join(errs...)
}
