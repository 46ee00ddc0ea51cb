package snapshotter

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// Commit turns the active snapshot key into the committed snapshot name. When
// it returns nil, layer and record are durable: the files first, so that no
// crash leaves a name for less than the whole layer. With Config.DeferSync they
// are durable after the next Sync. Labels are replaced by
// those of opts. WithParent puts a snapshot that has no parent on top of one.
//
// AlreadyExists: name is in use. NotFound: no such key. FailedPrecondition: key
// is not active, or another Commit of it is under way. DataLoss: the disk
// reported a write error since the snapshot was prepared. InvalidArgument: key
// has a parent and opts name another. Unmount before Commit: a layer must not
// change afterwards.
func (s *Snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	var base snapshots.Info
	for _, opt := range opts {
		if err := opt(&base); err != nil {
			return fmt.Errorf("option of snapshot %q: %w", name, err)
		}
	}
	id, err := s.checkCommit(name, key)
	if err != nil {
		return fmt.Errorf("commit snapshot: %w", err)
	}
	// The slow part needs no transaction: others go on meanwhile.
	usage, err := diskUsage(ctx, s.layout.upper(id))
	if err != nil {
		return fmt.Errorf("commit snapshot %q: %w", key, err)
	}
	switch {
	case s.config.DeferSync:
		s.disk.put()
	case !s.config.NoSyncOnCommit:
		if err := s.disk.sync(id); err != nil {
			return fmt.Errorf("commit snapshot %q: %w", key, err)
		}
	}
	adopted := false // by the database, out of memory
	err = s.store.update(ctx, func(tx *storeTx) error {
		r, err := tx.get(key)
		if err == nil {
			err = checkSettled(key, &r)
		}
		if err != nil {
			return err
		}
		if r.ID != id || r.Kind != snapshots.KindActive {
			return fmt.Errorf("snapshot %q was replaced meanwhile: %w", key, errdefs.ErrFailedPrecondition)
		}
		r.Inodes, r.Size = usage.Inodes, usage.Size
		volatile := r.volatile
		err = s.seal(tx, name, key, &r, &base)
		adopted = volatile && !r.volatile
		return err
	})
	if adopted {
		s.store.settle(key, err)
	}
	if err != nil {
		return fmt.Errorf("commit snapshot: %w", err)
	}
	s.layout.removeWork(id)
	return nil
}

// checkCommit finds early what would make the commit fail.
func (s *Snapshotter) checkCommit(name, key string) (id uint64, err error) {
	err = s.store.view(func(tx *storeTx) error {
		r, err := tx.get(key)
		if err != nil {
			return err
		}
		id = r.ID
		if r.Kind != snapshots.KindActive {
			return fmt.Errorf("snapshot %q is not active: %w", key, errdefs.ErrFailedPrecondition)
		}
		if err := checkSettled(key, &r); err != nil {
			return err
		}
		return tx.checkFree(name)
	})
	return id, err
}

// seal writes the committed record in place of the active one.
func (s *Snapshotter) seal(tx *storeTx, name, key string, r *record, base *snapshots.Info) error {
	if err := tx.checkFree(name); err != nil {
		return err
	}
	if r.volatile {
		if err := s.store.adopt(tx, key, r); err != nil {
			return err
		}
	}
	if base.Parent != "" && base.Parent != r.Parent {
		if err := rebase(tx, key, r, base.Parent); err != nil {
			return err
		}
	}
	r.Kind = snapshots.KindCommitted
	r.Created = s.now()
	r.Updated = r.Created
	r.setLabels(base.Labels)
	if err := tx.forget(key); err != nil {
		return err
	}
	return tx.put(name, r)
}

// rebase puts a snapshot that was prepared on nothing on top of parent.
func rebase(tx *storeTx, key string, r *record, parent string) error {
	if r.Parent != "" || len(r.Refs) > 0 {
		return fmt.Errorf("snapshot %q already has a parent, not %q: %w", key, parent, errdefs.ErrInvalidArgument)
	}
	stack, err := chain(tx, parent)
	if err != nil {
		return err
	}
	if len(stack) > MaxLayers {
		return fmt.Errorf("snapshot %q would have %d layers, overlay mounts %d: %w", key, len(stack), MaxLayers, errdefs.ErrOutOfRange)
	}
	r.Parent, r.Refs = parent, slices.Clone(stack[:1])
	return tx.putLinks(r, stack)
}
