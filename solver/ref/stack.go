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
// ones over earlier ones. Each layer does what it did where it was made: it
// deletes what it deleted there, and nothing else. Nil refs add nothing; a
// single ref is itself; no refs give nil. Nothing is copied if Config.Merge is
// set.
func (s *Store) Merge(ctx context.Context, refs []*Ref, opts ...Option) (*Ref, error) {
	var parents []*entry
	var last *Ref
	l := s.newLaying()
	defer l.release(ctx)
	for _, r := range refs {
		if r == nil {
			continue
		}
		last = r
		parents = append(parents, r.e)
		if err := l.add(ctx, r.e.history()); err != nil {
			return nil, fmt.Errorf("merge: %w", err)
		}
	}
	switch len(parents) {
	case 0:
		return nil, nil
	case 1:
		return last.Hold(), nil
	}
	return s.stack(ctx, parents, l.layers, opts)
}

// Diff returns what has to be laid over lower to get upper: upper itself if
// lower is nil, nil if they are the same, and the layers in between if lower
// is an ancestor of upper. Otherwise they are compared. Laid over anything
// else, it does the same there and no more, see Merge.
func (s *Store) Diff(ctx context.Context, lower, upper *Ref, opts ...Option) (*Ref, error) {
	if lower == nil {
		return upper.Hold(), nil
	}
	var above []*entry
	if upper != nil {
		above = upper.e.history()
	}
	below := lower.e.history()
	if isPrefix(below, above) {
		if len(below) == len(above) {
			return nil, nil
		}
		l := s.newLaying()
		defer l.release(ctx)
		if err := l.add(ctx, above[len(below):]); err != nil {
			return nil, fmt.Errorf("diff: %w", err)
		}
		return s.stack(ctx, []*entry{lower.e, upper.e}, l.layers, opts)
	}
	layer, err := s.difference(ctx, lower, upper)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	// The layer is laid over lower; alone it is a stack of one.
	r, err := s.stack(ctx, []*entry{layer.e}, []*entry{layer.e}, opts)
	return r, errors.Join(err, layer.Release(ctx))
}

// laying is a stack in the making. Its layers are base first.
type laying struct {
	s      *Store
	layers []*entry
	held   []*entry
}

func (s *Store) newLaying() *laying { return &laying{s: s} }

// add lays layers over what is there. Those that come to lie on what they were
// made on are taken as they are, of others their portable forms.
func (l *laying) add(ctx context.Context, layers []*entry) error {
	for _, e := range layers {
		if !l.home(e) {
			var err error
			if e, err = l.s.portable(ctx, e); err != nil {
				return err
			}
			l.held = append(l.held, e)
		}
		l.layers = append(l.layers, e)
	}
	return nil
}

// home reports whether e would lie over its parent.
func (l *laying) home(e *entry) bool {
	var below []*entry
	if len(e.parents) > 0 {
		below = e.parents[0].chain()
	}
	return slices.Equal(topmost(l.layers), below)
}

// release gives up the holds on portable forms.
func (l *laying) release(ctx context.Context) {
	for _, e := range l.held {
		l.s.release(ctx, e)
	}
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
	idx, err := s.copyDifference(ctx, a, lowerMounts, upperMounts)
	if err != nil {
		return nil, err
	}
	return a.Commit(ctx, withOptionalIndex(idx)...)
}

// stack makes a ref of the layers, base first, that is listed as made from
// parents. The caller holds all of them.
func (s *Store) stack(ctx context.Context, parents, layers []*entry, opts []Option) (*Ref, error) {
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
	spans := spansOf(e.chain())
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
	chain := e.chain()
	parent, rest := "", chain
	for i, l := range chain {
		if i == 0 && len(l.parents) > 0 || i > 0 && (len(l.parents) == 0 || l.parents[0] != chain[i-1]) {
			break
		}
		parent, rest = l.snapshot(), chain[i+1:]
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
