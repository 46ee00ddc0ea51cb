package ref

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// maxKey bounds the name of a mutable ref, in bytes.
const maxKey = 4096

// Mutable returns the writable file system of that name: the one from before,
// also after a restart, or a new one over parent. Several callers may have it
// at once; who may write when is theirs to decide, see LockMutable. What is in
// it survives the process, but a power loss may damage files written last.
// Give it back with Active.Release. The parent matters only when it is new.
func (s *Store) Mutable(ctx context.Context, key string, parent *Ref, opts ...Option) (*Active, error) {
	if key == "" || len(key) > maxKey {
		return nil, fmt.Errorf("key of mutable ref has %d bytes, want 1 to %d: %w", len(key), maxKey, errdefs.ErrInvalidArgument)
	}
	for {
		id, err := s.db.mutable(key)
		if err != nil {
			return nil, fmt.Errorf("look for mutable ref %q: %w", key, err)
		}
		if id != "" {
			a, err := s.reopen(ctx, id)
			if err == nil || !errdefs.IsNotFound(err) {
				return a, err
			}
		}
		_, err = s.flights.do(ctx, "mutable "+key, work{
			run: func(ctx context.Context) (any, error) {
				now, err := s.db.mutable(key)
				if err != nil || now != id && now != "" {
					return nil, err // somebody else made it; look again
				}
				return nil, s.newMutable(ctx, key, parent, opts)
			},
		})
		if err != nil {
			return nil, err
		}
	}
}

// reopen returns the mutable ref id with one hold more.
func (s *Store) reopen(ctx context.Context, id string) (*Active, error) {
	e, err := s.hold(ctx, id)
	if err != nil {
		return nil, err
	}
	s.used.touch(id, true)
	return &Active{e: e, key: activePrefix + id}, nil
}

// newMutable makes and stores a mutable ref. It is kept, so it needs no hold.
func (s *Store) newMutable(ctx context.Context, key string, parent *Ref, opts []Option) error {
	rec := s.newRecord(kindMutable, opts)
	rec.Key = key
	rec.Kept = true
	rec.Snapshot = activePrefix + rec.ID
	if rec.RecordType == "" {
		rec.RecordType = TypeCacheMount
	}
	a, err := s.prepare(ctx, rec, parent, nil)
	if err != nil {
		return err
	}
	if err := s.store(ctx, a.e, true); err != nil {
		return withCleanup(err, a.Discard(ctx))
	}
	s.release(ctx, a.e)
	return nil
}

// ForgetMutable removes the mutable refs of all names that match accepts, but
// those that somebody has.
func (s *Store) ForgetMutable(ctx context.Context, match func(key string) bool) error {
	var ids []string
	err := s.db.each(func(rec *record, _ usedRecord, _ int64) error {
		if rec.Kind == kindMutable && match(rec.Key) {
			ids = append(ids, "id=="+rec.ID)
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("list mutable refs: %w", err)
	}
	if len(ids) == 0 {
		return nil
	}
	return s.Prune(ctx, PruneOptions{All: true, Filters: ids}, nil)
}

// LockMutable takes the lock of that name, if nobody in this process has it.
// The Store itself does not look at these locks.
func (s *Store) LockMutable(key string) (unlock func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.locked[key]; taken {
		return nil, false
	}
	s.locked[key] = struct{}{}
	done := false
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !done {
			done = true
			delete(s.locked, key)
		}
	}, true
}
