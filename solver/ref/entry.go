package ref

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/containerd/log"
)

// entry is a ref in memory: there is one for every ref that is held or that
// one in memory is made of. Fields are guarded by Store.mu unless they never
// change after the entry was made.
type entry struct {
	s  *Store
	id string // never changes
	// lease of the ref and its layers never change.
	lease   string
	parents []*entry
	stack   []*entry
	// source, optional, never changes: e is a portable form of its layer.
	source *entry

	rec record
	// stored says that the record is on disk.
	stored bool
	// dead entries were removed from the Store; the last hold is gone.
	dead bool
	// holds counts Refs and Actives, kids entries made of this one.
	holds, kids int

	// view is how the file system is mounted. It has its own lock.
	view view
}

// newEntry returns an entry of rec held once. Its owners must be held by the
// caller until adopt or drop.
func (s *Store) newEntry(rec record) *entry {
	return &entry{s: s, id: rec.ID, lease: rec.Lease, rec: rec, holds: 1}
}

// recordType is what the ref was made as.
func (e *entry) recordType() string {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.rec.RecordType
}

// kind of the ref.
func (e *entry) kind() kind {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.rec.Kind
}

// snapshot is the key of the ref's snapshot.
func (e *entry) snapshot() string {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.rec.Snapshot
}

// chain returns the entries whose own layers make up the file system, base
// first, each once. Their number is bounded by what overlay can stack.
func (e *entry) chain() []*entry { return topmost(e.history()) }

// history returns the entries whose own layers were laid over each other, base
// first. What was merged twice is in it twice: what came in between counts when
// the difference to a part of it is taken.
func (e *entry) history() []*entry {
	var top []*entry // topmost first
	for e != nil {
		if len(e.stack) > 0 {
			for i := len(e.stack) - 1; i >= 0; i-- {
				top = append(top, e.stack[i])
			}
			break
		}
		top = append(top, e)
		if len(e.parents) == 0 {
			break
		}
		e = e.parents[0]
	}
	out := make([]*entry, len(top))
	for i, x := range top {
		out[len(top)-1-i] = x
	}
	return out
}

// owners returns the distinct entries that e keeps alive.
func (e *entry) owners() []*entry {
	var out []*entry
	seen := map[*entry]bool{}
	for _, list := range [][]*entry{e.parents, e.stack, {e.source}} {
		for _, o := range list {
			if o != nil && !seen[o] {
				seen[o] = true
				out = append(out, o)
			}
		}
	}
	return out
}

// unstored appends the entries that e is made of and that have no record yet,
// ancestors first. Store.mu is held.
func (e *entry) unstored(out []*entry) []*entry {
	seen := map[*entry]bool{}
	for _, o := range out {
		seen[o] = true
	}
	var visit func(e *entry)
	visit = func(e *entry) {
		for _, o := range e.owners() {
			if !o.stored && !seen[o] {
				seen[o] = true
				visit(o)
				out = append(out, o)
			}
		}
	}
	visit(e)
	return out
}

// link makes e count as a child of its owners. Store.mu is held.
func (e *entry) link() {
	for _, o := range e.owners() {
		o.kids++
	}
}

// hold returns the entry of id with one more hold, reading its record if it
// is not in memory. The error is of kind NotFound when the ref, its snapshot
// or something it is made of is gone; what is left of it is then removed.
func (s *Store) hold(ctx context.Context, id string) (*entry, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("ref %s: store is closed: %w", id, errdefs.ErrUnavailable)
	}
	// Who is in memory was looked at when it came in.
	before := s.entries[id] != nil
	e, err := s.load(id)
	if err == nil {
		e.holds++
	}
	s.mu.Unlock()
	if errdefs.IsNotFound(err) && !before {
		s.forget(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	if before {
		return e, nil
	}
	_, err = s.cfg.Snapshotter.Stat(s.ctx(ctx), e.snapshot())
	if err == nil {
		return e, nil
	}
	s.release(ctx, e)
	if errdefs.IsNotFound(err) {
		s.forget(ctx, id)
		return nil, fmt.Errorf("ref %s: its snapshot is gone: %w", id, errdefs.ErrNotFound)
	}
	return nil, fmt.Errorf("look for snapshot of ref %s: %w", id, err)
}

// load returns the entry of id, reading its record and those of its owners if
// needed. The entry may have no holds yet. Store.mu is held.
func (s *Store) load(id string) (*entry, error) {
	if e := s.entries[id]; e != nil {
		return e, nil
	}
	rec, err := s.db.get(id)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, fmt.Errorf("ref %s: %w", id, errdefs.ErrNotFound)
	}
	if _, dying := s.dying[rec.Lease]; dying {
		return nil, fmt.Errorf("ref %s: being removed: %w", id, errdefs.ErrNotFound)
	}
	e := s.newEntry(*rec)
	e.holds, e.stored = 0, true
	for _, l := range []struct {
		ids []string
		to  *[]*entry
	}{{rec.Parents, &e.parents}, {rec.Stack, &e.stack}} {
		for _, id := range l.ids {
			o, err := s.load(id)
			if err != nil {
				s.unload(e)
				return nil, fmt.Errorf("ref %s is made of %w", e.id, err)
			}
			*l.to = append(*l.to, o)
		}
	}
	if rec.Source != "" {
		if e.source, err = s.load(rec.Source); err != nil {
			s.unload(e)
			return nil, fmt.Errorf("ref %s is a form of %w", e.id, err)
		}
	}
	e.link()
	s.entries[id] = e
	return e, nil
}

// unload lets go of the owners of an entry that could not be loaded and that
// nothing else wants. Store.mu is held.
func (s *Store) unload(e *entry) {
	for _, o := range e.owners() {
		if o.holds+o.kids == 0 && s.entries[o.id] == o {
			delete(s.entries, o.id)
			for _, p := range o.owners() {
				p.kids--
			}
			s.unload(o)
		}
	}
}

// release gives one hold of e up. When it was the last, the entry leaves
// memory, and what was never kept is removed.
func (s *Store) release(ctx context.Context, e *entry) {
	s.mu.Lock()
	e.holds--
	last := e.holds == 0 // children may still keep it in memory
	idle, doomed := s.settle(e, nil, nil)
	s.mu.Unlock()
	if last {
		s.used.touch(e.id, false)
	}
	s.retire(ctx, idle, doomed)
}

// settle takes e, and then its owners, out of memory if nothing wants them
// any more. It returns those and, as doomed, the ones among them to remove.
// Store.mu is held.
func (s *Store) settle(e *entry, idle, doomed []*entry) ([]*entry, []*entry) {
	if e.holds+e.kids > 0 || e.dead {
		return idle, doomed
	}
	e.dead = true
	if s.entries[e.id] == e {
		delete(s.entries, e.id)
	}
	idle = append(idle, e)
	// A stored one that children on disk need stays until the last of them goes.
	if !e.rec.Kept && !s.neededOnDisk(e) {
		s.dying[e.lease] = struct{}{}
		doomed = append(doomed, e)
	}
	for _, o := range e.owners() {
		o.kids--
		idle, doomed = s.settle(o, idle, doomed)
	}
	return idle, doomed
}

// neededOnDisk reports whether a record that is not about to go is made of e.
// Store.mu is held.
func (s *Store) neededOnDisk(e *entry) bool {
	if !e.stored {
		return false
	}
	yes, err := s.db.hasKids(e.id)
	return yes || err != nil
}

// retire cleans up behind entries that left memory. No lock is held.
func (s *Store) retire(ctx context.Context, idle, doomed []*entry) {
	ctx = context.WithoutCancel(ctx)
	for _, e := range idle {
		if err := e.view.close(ctx, e); err != nil {
			log.G(ctx).WithError(err).WithField("ref", e.id).Warn("unmount ref")
		}
	}
	if len(doomed) == 0 {
		return
	}
	dead := make([]removal, 0, len(doomed))
	for _, e := range doomed {
		dead = append(dead, removal{id: e.id, lease: e.lease, stored: e.stored, stack: len(e.stack) > 0})
	}
	if err := s.remove(ctx, dead, nil); err != nil {
		// The leases are found by the Sweep of the next process.
		log.G(ctx).WithError(err).Warn("remove refs")
	}
}

// removal names a ref to remove. Its lease is in Store.dying.
type removal struct {
	id, lease string
	stored    bool
	// stack says that containerd does not know what the snapshot is made of.
	stack bool
}

// remove deletes records, then leases, and goes on with the refs that were
// only there for the sake of the removed ones; visit, optional, is told of
// those before. Whatever happens, leases are not dying any more afterwards.
func (s *Store) remove(ctx context.Context, dead []removal, visit func(id string)) error {
	var errs []error
	for len(dead) > 0 {
		orphans, err := s.removeRecords(dead)
		if err != nil {
			errs = append(errs, err)
		}
		for _, d := range dead {
			if err != nil && d.stored {
				// Without its lease the record would name a missing snapshot.
				continue
			}
			s.indexes.forget(d.lease)
			s.removeIndexFile(d.lease)
			if err := s.deleteLease(ctx, d.lease); err != nil {
				errs = append(errs, err)
			}
		}
		s.mu.Lock()
		for _, d := range dead {
			delete(s.dying, d.lease)
		}
		callbacks := s.onRemove
		s.mu.Unlock()
		for _, d := range dead {
			for _, fn := range callbacks {
				if d.stored && err == nil {
					fn(d.id)
				}
			}
		}
		if err := s.collectStacks(ctx, dead, len(orphans)); err != nil {
			errs = append(errs, err)
		}
		dead = s.orphaned(orphans, visit)
	}
	return errors.Join(errs...)
}

// collectStacks has the snapshots of stacks among dead collected before the
// layers go that they are made of: containerd would try them in any order.
func (s *Store) collectStacks(ctx context.Context, dead []removal, orphans int) error {
	if s.cfg.GC == nil || s.cfg.Merge == nil || orphans == 0 {
		return nil
	}
	for _, d := range dead {
		if d.stack {
			return s.cfg.GC(s.ctx(ctx))
		}
	}
	return nil
}

// removeRecords deletes the records of dead in one transaction and returns the
// refs they were made of.
func (s *Store) removeRecords(dead []removal) (map[string]struct{}, error) {
	orphans := map[string]struct{}{}
	stored := false
	for _, d := range dead {
		stored = stored || d.stored
	}
	if !stored {
		return nil, nil
	}
	err := s.db.bolt.Update(func(tx *bolt.Tx) error {
		for _, d := range dead {
			s.used.forget(d.id)
			owners, err := txDelete(tx, d.id, d.lease)
			if err != nil {
				return err
			}
			for _, o := range owners {
				orphans[o] = struct{}{}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("delete records: %w", err)
	}
	return orphans, nil
}

// orphaned returns those of ids that are on disk only, were never kept and
// have no children left, marked as dying.
func (s *Store) orphaned(ids map[string]struct{}, visit func(id string)) []removal {
	var out []removal
	for id := range maps.Keys(ids) {
		s.mu.Lock()
		rec, err := s.db.get(id)
		gone := err != nil || rec == nil || rec.Kept || s.entries[id] != nil
		if !gone {
			kids, err := s.db.hasKids(id)
			gone = kids || err != nil
		}
		if !gone {
			if _, dying := s.dying[rec.Lease]; dying {
				gone = true
			} else {
				s.dying[rec.Lease] = struct{}{}
			}
		}
		s.mu.Unlock()
		if gone {
			continue
		}
		if visit != nil {
			visit(id)
		}
		out = append(out, removal{id: id, lease: rec.Lease, stored: true, stack: rec.Kind == kindStack})
	}
	return out
}

// forget removes the record of a ref that is broken: its snapshot or something
// it is made of is gone. It does nothing while the ref is in memory.
func (s *Store) forget(ctx context.Context, id string) {
	s.mu.Lock()
	rec, err := s.db.get(id)
	if err != nil || rec == nil || s.entries[id] != nil {
		s.mu.Unlock()
		return
	}
	if _, dying := s.dying[rec.Lease]; dying {
		s.mu.Unlock()
		return
	}
	s.dying[rec.Lease] = struct{}{}
	s.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	if err := s.remove(ctx, []removal{{id: id, lease: rec.Lease, stored: true}}, nil); err != nil {
		log.G(ctx).WithError(err).WithField("ref", id).Warn("remove broken ref")
	}
}
