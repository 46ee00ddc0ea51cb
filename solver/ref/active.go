package ref

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// Active is a writable layer over a parent, made by Prepare or Mutable. It
// ends by Commit, Discard or, when it is mutable, Release.
type Active struct {
	e *entry
	// key is the snapshot's while it is writable.
	key string

	mu     sync.Mutex
	mounts []mount.Mount
	ended  bool
}

// Prepare makes a writable layer over parent; nil is the empty file system.
// The caller keeps its hold on parent.
func (s *Store) Prepare(ctx context.Context, parent *Ref, opts ...Option) (*Active, error) {
	rec := s.newRecord(kindActive, opts)
	return s.prepare(ctx, rec, parent, nil)
}

// newRecord returns a record with a new id and lease and the caller's options.
func (s *Store) newRecord(k kind, opts []Option) record {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	rec := record{
		ID:          s.cfg.NewID(),
		Kind:        k,
		Description: o.description,
		RecordType:  o.recordType,
		CreatedAt:   o.createdAt,
		Kept:        o.keep,
	}
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = s.cfg.Now().UTC()
	}
	rec.Lease = leasePrefix + rec.ID
	rec.Snapshot = snapshotPrefix + rec.ID
	return rec
}

// Names on containerd's side.
const (
	leasePrefix    = "kiln-ref-"
	snapshotPrefix = "kiln-"
	activePrefix   = "kiln-active-"
)

// prepare makes the lease and the writable snapshot of rec, in this order: a
// crash in between leaves an empty lease. The layer may become a form of that
// of source.
func (s *Store) prepare(ctx context.Context, rec record, parent *Ref, source *entry) (*Active, error) {
	parentKey := ""
	var parents []*entry
	if parent != nil {
		parentKey = parent.e.snapshot()
		parents = []*entry{parent.e}
		rec.Parents = []string{parent.e.id}
	}
	if source != nil {
		rec.Source = source.id
	}
	if err := s.createLease(ctx, rec.Lease); err != nil {
		return nil, err
	}
	key := activePrefix + rec.ID
	var opts []snapshots.Opt
	if rec.Kind != kindMutable {
		opts = s.cfg.LayerOpts
	}
	mounts, err := s.cfg.Snapshotter.Prepare(s.leased(ctx, rec.Lease), key, parentKey, opts...)
	if err != nil {
		err = withCleanup(err, s.deleteLease(context.WithoutCancel(ctx), rec.Lease))
		return nil, fmt.Errorf("prepare layer %s: %w", rec.ID, err)
	}
	e := s.newEntry(rec)
	e.parents, e.source = parents, source
	s.insert(e)
	return &Active{e: e, key: key, mounts: mounts}, nil
}

// insert makes a new entry known. The caller holds its owners.
func (s *Store) insert(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.link()
	s.entries[e.id] = e
}

// ID names the layer; the Ref that Commit returns has the same.
func (a *Active) ID() string { return a.e.id }

// Mounts returns the mounts of the writable file system, for a container's
// root or for mount.All.
func (a *Active) Mounts(ctx context.Context) ([]mount.Mount, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return nil, fmt.Errorf("layer %s is not writable any more: %w", a.e.id, errdefs.ErrFailedPrecondition)
	}
	if a.mounts == nil {
		s := a.e.s
		mounts, err := s.cfg.Snapshotter.Mounts(s.ctx(ctx), a.key)
		if err != nil {
			return nil, fmt.Errorf("mounts of layer %s: %w", a.e.id, err)
		}
		a.mounts = mounts
	}
	return a.mounts, nil
}

// Dir returns a private directory where the file system is mounted, for the
// daemon's own writing. Callers share the mount; release gives it back and is
// safe to call more than once. Commit refuses while somebody has it.
func (a *Active) Dir(ctx context.Context) (dir string, release func() error, err error) {
	mounts, err := a.Mounts(ctx)
	if err != nil {
		return "", nil, err
	}
	return a.e.view.dir(a.e.s, mounts)
}

// UpperDir returns the directory that holds the layer's own files, if the
// snapshotter has one. Whiteouts in it are overlay's. It must not be written
// while the file system is mounted.
func (a *Active) UpperDir(ctx context.Context) (string, bool) {
	s := a.e.s
	if s.cfg.Layers == nil {
		return "", false
	}
	dir, err := s.cfg.Layers.UpperDir(s.ctx(ctx), a.key)
	return dir, err == nil && dir != ""
}

// Commit makes the layer immutable and returns it with one hold. It is known
// to this process only until Keep. After an error the layer is still there and
// wants Discard.
func (a *Active) Commit(ctx context.Context, opts ...CommitOption) (*Ref, error) {
	var o commitOptions
	for _, opt := range opts {
		opt(&o)
	}
	s := a.e.s
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended || a.e.kind() != kindActive:
		return nil, fmt.Errorf("commit %s: not a layer in the making: %w", a.e.id, errdefs.ErrFailedPrecondition)
	// Overlay's upper directory must not change once it is a lower one.
	case a.e.view.busy():
		return nil, fmt.Errorf("commit layer %s: still mounted: %w", a.e.id, errdefs.ErrFailedPrecondition)
	}
	if err := a.e.view.close(ctx, a.e); err != nil {
		return nil, fmt.Errorf("commit layer %s: %w", a.e.id, err)
	}
	name := a.e.snapshot()
	if err := s.cfg.Snapshotter.Commit(s.leased(ctx, a.e.lease), name, a.key); err != nil {
		return nil, fmt.Errorf("commit layer %s: %w", a.e.id, err)
	}
	a.ended = true
	return a.committed(ctx, o.index)
}

// committed turns the entry into one of a layer. Active.mu is held.
func (a *Active) committed(ctx context.Context, idx *layerindex.Index) (*Ref, error) {
	s := a.e.s
	s.mu.Lock()
	a.e.rec.Kind = kindLayer
	keep := a.e.rec.Kept
	s.mu.Unlock()
	if idx != nil {
		s.putIndex(ctx, a.e, idx)
	}
	if keep {
		if err := s.store(ctx, a.e, true); err != nil {
			s.mu.Lock()
			a.e.rec.Kept = false
			s.mu.Unlock()
			s.release(ctx, a.e)
			return nil, err
		}
	}
	return newRef(a.e), nil
}

// Discard drops the layer and what was written to it. After Commit it does
// nothing; a mutable layer it removes for good unless others hold it.
func (a *Active) Discard(ctx context.Context) error {
	if !a.end() {
		return nil
	}
	s := a.e.s
	ctx = context.WithoutCancel(ctx)
	// Without Kept the last release removes the record too, if there is one.
	s.mu.Lock()
	a.e.rec.Kept = false
	mutable := a.e.rec.Kind == kindMutable
	s.mu.Unlock()
	var err error
	// Others may take hold of a mutable one at any moment: it goes with its
	// lease. One in the making nobody else knows, so its files can go at once.
	if !mutable {
		err = a.e.view.close(ctx, a.e)
		if rerr := s.cfg.Snapshotter.Remove(s.leased(ctx, a.e.lease), a.key); rerr != nil && !errdefs.IsNotFound(rerr) {
			err = fmt.Errorf("discard layer %s: %w", a.e.id, rerr)
		}
	}
	s.release(ctx, a.e)
	return err
}

// Release gives a mutable layer back with what was written to it. For other
// layers it is Discard. It is safe after Commit and more than once.
func (a *Active) Release(ctx context.Context) error {
	if a.e.kind() != kindMutable {
		return a.Discard(ctx)
	}
	if !a.end() {
		return nil
	}
	a.e.s.used.resized(a.e.id, sizeUnknown)
	a.e.s.release(ctx, a.e)
	return nil
}

// end reports whether the Active was not ended before.
func (a *Active) end() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.ended
	a.ended = true
	return !was
}

// SetInfo attaches a small value to the layer, see Ref.SetInfo.
func (a *Active) SetInfo(name, value string) error { return a.e.setInfo(name, value) }

// Info returns a value that SetInfo attached, or "".
func (a *Active) Info(name string) string { return a.e.getInfo(name) }

// leaseOf is the lease as the manager wants it.
func leaseOf(e *entry) leases.Lease { return leases.Lease{ID: e.lease} }
