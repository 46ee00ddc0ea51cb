package ref

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
)

const (
	// pruneBatch is how many refs one transaction removes at most: builds wait
	// for it.
	pruneBatch = 64
	// collectEvery is after how many refs containerd's collector runs: it
	// stops all writes while it looks at everything, and again for as long as
	// it removes, so neither many nor large runs are good.
	collectEvery = 512
)

// PruneOptions say what Prune may remove. Sizes are bytes, zero is no limit.
type PruneOptions struct {
	// All includes internal, frontend and shared refs.
	All bool
	// Filters are alternatives in containerd's filter syntax, see Usage.Field.
	Filters []string
	// KeepDuration spares what was used more recently.
	KeepDuration time.Duration
	// ReservedSpace is never gone below; MaxUsedSpace is what may be used at
	// most; MinFreeSpace is what should be free on the disk. If any is set,
	// only as much is removed as they ask for, what was used least first.
	ReservedSpace, MaxUsedSpace, MinFreeSpace int64
}

// Prune removes refs that nobody holds and nothing is made of, then those they
// were made of, and so on, and calls emit, if not nil, for each. Between
// batches builds go on; what they take in use is spared. One Prune runs at a
// time, others wait. What was removed stays removed if an error, or the end of
// ctx, stops it.
func (s *Store) Prune(ctx context.Context, opt PruneOptions, emit func(Usage)) error {
	match, err := parseFilters(opt.Filters)
	if err != nil {
		return err
	}
	select {
	case s.pruning <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.pruning }()

	p := &pruner{s: s, opt: opt, match: match, emit: emit, before: s.cfg.Now().Add(-opt.KeepDuration)}
	if p.items, err = s.inventory(ctx); err != nil {
		return err
	}
	if err := p.budget(ctx); err != nil {
		return err
	}
	for {
		batch, err := p.next(ctx)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return p.collect(ctx)
		}
		if err := p.remove(ctx, batch); err != nil {
			return err
		}
	}
}

// pruner is one Prune.
type pruner struct {
	s      *Store
	opt    PruneOptions
	match  filters.Filter
	emit   func(Usage)
	before time.Time
	items  map[string]*item
	// limited says that excess bytes are to go, and no more.
	limited bool
	excess  int64
	// removed counts refs since the collector ran last.
	removed int
}

// budget works out how many bytes have to go.
func (p *pruner) budget(ctx context.Context) error {
	o := p.opt
	if p.limited = o.MaxUsedSpace != 0 || o.ReservedSpace != 0 || o.MinFreeSpace != 0; !p.limited {
		return nil
	}
	var total int64
	for _, it := range p.items {
		if err := p.s.measure(ctx, it); err != nil {
			return err
		}
		if !it.Shared {
			total += it.Size
		}
	}
	// As much as possible stays, within the upper limits and above the lower.
	keep := total
	if o.MaxUsedSpace != 0 {
		keep = min(keep, o.MaxUsedSpace)
	}
	if o.MinFreeSpace != 0 {
		free, err := p.s.cfg.DiskFree()
		if err != nil {
			return err
		}
		keep = min(keep, total-max(0, o.MinFreeSpace-free))
	}
	if o.MaxUsedSpace == 0 && o.MinFreeSpace == 0 {
		keep = 0 // down to the reserve
	}
	p.excess = total - max(keep, o.ReservedSpace)
	return nil
}

// next chooses what goes next: refs without children, what was used least
// recently and least often first.
func (p *pruner) next(ctx context.Context) ([]*item, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if p.limited && p.excess <= 0 {
		return nil, nil
	}
	var out []*item
	for _, it := range p.items {
		if p.mayGo(it) {
			out = append(out, it)
		}
	}
	slices.SortFunc(out, func(a, b *item) int {
		return cmp.Or(a.lastUsed().Compare(b.lastUsed()), cmp.Compare(a.UsageCount, b.UsageCount), cmp.Compare(a.ID, b.ID))
	})
	out = out[:min(len(out), pruneBatch)]
	for i, it := range out {
		if err := p.s.measure(ctx, it); err != nil {
			return nil, err
		}
		if !p.limited {
			continue
		}
		if !it.Shared {
			p.excess -= it.Size
		}
		if p.excess <= 0 {
			return out[:i+1], nil
		}
	}
	return out, nil
}

// lastUsed is when the ref was used or else made.
func (it *item) lastUsed() time.Time {
	if it.LastUsedAt != nil {
		return *it.LastUsedAt
	}
	return it.CreatedAt
}

// mayGo reports whether options and children allow to remove the ref.
func (p *pruner) mayGo(it *item) bool {
	switch {
	case it.InUse || it.kids > 0 || !it.stored:
		return false
	case !p.opt.All && (it.Shared || it.RecordType == TypeInternal || it.RecordType == TypeFrontend):
		return false
	case p.opt.KeepDuration != 0 && it.LastUsedAt != nil && it.LastUsedAt.After(p.before):
		return false
	}
	return p.match.Match(&it.Usage)
}

// remove removes a batch, except what was taken in use or got children since
// the inventory.
func (p *pruner) remove(ctx context.Context, batch []*item) error {
	s := p.s
	var dead []removal
	var gone []*item
	s.mu.Lock()
	for _, it := range batch {
		rec, err := s.db.get(it.ID)
		free := err == nil && rec != nil && rec.Lease == it.lease && s.entries[it.ID] == nil
		if free {
			kids, err := s.db.hasKids(it.ID)
			free = err == nil && !kids
		}
		if _, dying := s.dying[it.lease]; !free || dying {
			p.spare(it)
			continue
		}
		s.dying[it.lease] = struct{}{}
		dead = append(dead, removal{id: it.ID, lease: it.lease, stored: true, stack: rec.Kind == kindStack})
		gone = append(gone, it)
	}
	s.mu.Unlock()
	if len(dead) == 0 {
		return nil
	}
	err := s.remove(ctx, dead, func(id string) {
		// Was there for a removed one only: it goes along.
		if it := p.items[id]; it != nil {
			if s.measure(ctx, it) == nil && p.limited && !it.Shared {
				p.excess -= it.Size
			}
			gone = append(gone, it)
		}
	})
	for _, it := range gone {
		delete(p.items, it.ID)
		for _, o := range it.owners {
			if owner := p.items[o]; owner != nil {
				owner.kids--
			}
		}
		if p.emit != nil && err == nil {
			p.emit(it.Usage)
		}
	}
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	p.removed += len(gone)
	// What a stack was made of must not be collected together with it.
	stacks := slices.ContainsFunc(dead, func(d removal) bool { return d.stack })
	if p.removed >= collectEvery || stacks {
		return p.collect(ctx)
	}
	return nil
}

// collect has containerd free what was removed.
func (p *pruner) collect(ctx context.Context) error {
	if p.removed == 0 || p.s.cfg.GC == nil {
		return nil
	}
	p.removed = 0
	if err := p.s.cfg.GC(p.s.ctx(ctx)); err != nil {
		return fmt.Errorf("prune: collect garbage: %w", err)
	}
	return nil
}

// spare takes a ref out of consideration.
func (p *pruner) spare(it *item) {
	it.InUse = true
	if p.limited && !it.Shared {
		p.excess += it.Size
	}
}
