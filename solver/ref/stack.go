package ref

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
)

// Merge returns the file system in which refs are laid over each other, later
// ones over earlier ones. Nil refs add nothing; a single ref is itself; no refs
// give nil. Nothing is copied if Config.Merge is set.
func (s *Store) Merge(ctx context.Context, refs []*Ref, opts ...Option) (*Ref, error) {
	var parents, stack []*entry
	var last *Ref
	for _, r := range refs {
		if r == nil {
			continue
		}
		last = r
		parents = append(parents, r.e)
		stack = append(stack, r.e.chain()...)
	}
	switch len(parents) {
	case 0:
		return nil, nil
	case 1:
		return last.Hold(), nil
	}
	return s.stack(ctx, parents, stack, opts)
}

// Diff returns what has to be laid over lower to get upper: upper itself if
// lower is nil, nil if they are the same, and the layers in between if lower
// is an ancestor of upper. Otherwise they are compared.
func (s *Store) Diff(ctx context.Context, lower, upper *Ref, opts ...Option) (*Ref, error) {
	if lower == nil {
		return upper.Hold(), nil
	}
	var above []*entry
	if upper != nil {
		above = upper.e.chain()
	}
	below := lower.e.chain()
	if isPrefix(below, above) {
		if len(below) == len(above) {
			return nil, nil
		}
		return s.stack(ctx, []*entry{lower.e, upper.e}, above[len(below):], opts)
	}
	layer, err := s.difference(ctx, lower, upper)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	// The layer is laid over lower; alone it is a stack of one.
	r, err := s.stack(ctx, []*entry{layer.e}, []*entry{layer.e}, opts)
	return r, errors.Join(err, layer.Release(ctx))
}

func isPrefix(short, long []*entry) bool {
	if len(short) > len(long) {
		return false
	}
	for i := range short {
		if short[i] != long[i] {
			return false
		}
	}
	return true
}

// difference makes a layer over lower that gives upper, by comparing the two.
func (s *Store) difference(ctx context.Context, lower, upper *Ref) (_ *Ref, err error) {
	a, err := s.Prepare(ctx, lower, WithRecordType(TypeInternal), WithDescription("difference"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = withCleanup(err, a.Discard(ctx))
		}
	}()
	lowerMounts, releaseLower, err := lower.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, releaseLower()) }()
	var upperMounts []mount.Mount
	if upper != nil {
		var releaseUpper func() error
		if upperMounts, releaseUpper, err = upper.Mounts(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, releaseUpper()) }()
	}
	layer, _, err := s.cfg.Comparer.CompareLayer(s.leased(ctx, a.e.lease), lowerMounts, upperMounts, CompareOptions{Compression: Uncompressed})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	mounts, err := a.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	_, idx, err := s.cfg.Applier.ApplyLayer(s.leased(ctx, a.e.lease), layer.Descriptor, mounts, nil)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	if err := s.dropBlob(ctx, a.e, layer.Descriptor.Digest); err != nil {
		return nil, err
	}
	return a.Commit(ctx, withOptionalIndex(idx)...)
}

// stack makes a ref of the layers, base first, that is listed as made from
// parents. The caller holds all of them.
func (s *Store) stack(ctx context.Context, parents, layers []*entry, opts []Option) (*Ref, error) {
	layers = topmost(layers)
	rec := s.newRecord(kindStack, opts)
	keep := rec.Kept
	rec.Kept = false
	for _, p := range parents {
		rec.Parents = append(rec.Parents, p.id)
	}
	for _, l := range layers {
		rec.Stack = append(rec.Stack, l.id)
	}
	e := s.newEntry(rec)
	e.parents, e.stack = parents, layers
	if err := s.stackSnapshot(ctx, e); err != nil {
		err = withCleanup(err, s.deleteLease(context.WithoutCancel(ctx), e.lease))
		return nil, fmt.Errorf("stack layers: %w", err)
	}
	s.insert(e)
	if keep {
		if err := s.store(ctx, e, true); err != nil {
			s.release(ctx, e)
			return nil, err
		}
	}
	return newRef(e), nil
}

// topmost drops all but the last occurrence of each layer: what a layer says
// again further up leaves nothing to see of the first time.
func topmost(layers []*entry) []*entry {
	seen := map[*entry]bool{}
	var out []*entry
	for _, l := range slices.Backward(layers) {
		if !seen[l] {
			seen[l] = true
			out = append(out, l)
		}
	}
	slices.Reverse(out)
	return out
}

// stackSnapshot makes the lease and the snapshot of a stack. With Config.Merge
// the lease also holds the snapshots that are stacked: containerd does not
// know that the new one needs them.
func (s *Store) stackSnapshot(ctx context.Context, e *entry) error {
	if err := s.createLease(ctx, e.lease); err != nil {
		return err
	}
	lctx := s.leased(ctx, e.lease)
	key := activePrefix + e.id
	if s.cfg.Merge == nil {
		if err := s.applyStack(ctx, e, key); err != nil {
			return err
		}
		return s.cfg.Snapshotter.Commit(lctx, e.rec.Snapshot, key)
	}
	spans := spansOf(e.stack)
	for _, span := range spans {
		res := leases.Resource{ID: span.Upper, Type: "snapshots/" + s.cfg.SnapshotterName}
		if err := s.cfg.Leases.AddResource(s.ctx(ctx), leaseOf(e), res); err != nil {
			return fmt.Errorf("own snapshot %s: %w", span.Upper, err)
		}
	}
	if _, err := s.cfg.Merge(lctx, key, spans); err != nil {
		return err
	}
	return s.cfg.Snapshotter.Commit(lctx, e.rec.Snapshot, key)
}

// spansOf finds the longest runs of layers that lie over each other anyway.
func spansOf(layers []*entry) []Span {
	var spans []Span
	for i, l := range layers {
		lower := ""
		if len(l.parents) > 0 {
			lower = l.parents[0].snapshot()
		}
		if i > 0 && len(l.parents) > 0 && l.parents[0] == layers[i-1] {
			spans[len(spans)-1].Upper = l.snapshot()
			continue
		}
		spans = append(spans, Span{Upper: l.snapshot(), Lower: lower})
	}
	return spans
}

// applyStack fills a new writable snapshot by unpacking the layers over each
// other. A first run that is a whole chain is taken as the parent.
func (s *Store) applyStack(ctx context.Context, e *entry, key string) error {
	parent, rest := "", e.stack
	for i, l := range e.stack {
		if i == 0 && len(l.parents) > 0 || i > 0 && (len(l.parents) == 0 || l.parents[0] != e.stack[i-1]) {
			break
		}
		parent, rest = l.snapshot(), e.stack[i+1:]
	}
	lctx := s.leased(ctx, e.lease)
	mounts, err := s.cfg.Snapshotter.Prepare(lctx, key, parent, s.cfg.LayerOpts...)
	if err != nil {
		return err
	}
	for _, l := range rest {
		blob, temporary, err := s.anyBlob(ctx, l)
		if err != nil {
			return err
		}
		_, _, err = s.cfg.Applier.ApplyLayer(lctx, blob.Descriptor, mounts, nil)
		if temporary {
			if derr := s.dropBlob(ctx, l, blob.Descriptor.Digest); err == nil {
				err = derr
			}
		}
		if err != nil {
			return fmt.Errorf("apply %s: %w", blob.Descriptor.Digest, err)
		}
	}
	return nil
}
