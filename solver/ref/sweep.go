package ref

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/leases"
)

// Sweep removes what earlier processes left half-made or half-removed: leases
// without a record, and records that were there for the sake of others only.
// containerd's collector frees what they held at its next run. It returns how
// many there were. Nothing depends on it but disk space: run it once after
// Open, in the background. It may run beside everything else.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	list, err := s.cfg.Leases.List(s.ctx(ctx), fmt.Sprintf("labels.%q==%s", labelStore, s.id))
	if err != nil {
		return 0, fmt.Errorf("list leases: %w", err)
	}
	// Records are read after leases: a lease of an earlier process without a
	// record never gets one any more, since this process makes its own.
	owned := map[string]struct{}{}
	loose := map[string]struct{}{}
	err = s.db.each(func(rec *record, _ usedRecord, _ int64) error {
		owned[rec.Lease] = struct{}{}
		if !rec.Kept {
			loose[rec.ID] = struct{}{}
		}
		return ctx.Err()
	})
	if err != nil {
		return 0, fmt.Errorf("list refs: %w", err)
	}
	swept, err := s.sweepLeases(ctx, list, owned)
	if err != nil {
		return swept, err
	}
	// Those that are still part of something are passed over.
	orphans := s.orphaned(loose, nil)
	if err := s.remove(ctx, orphans, nil); err != nil {
		return swept, fmt.Errorf("remove orphans: %w", err)
	}
	return swept + len(orphans), nil
}

// sweepLeases deletes the leases of earlier processes that are not owned.
func (s *Store) sweepLeases(ctx context.Context, list []leases.Lease, owned map[string]struct{}) (int, error) {
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
