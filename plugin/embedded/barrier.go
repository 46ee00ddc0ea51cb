package embedded

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
)

// collection is one run of the collector, carried in the context of everything the run does. The metadata layer reads
// what each backend may drop once, right before it starts dropping; so one barrier per backend and run is enough.
type collection struct {
	content, snapshots barrier

	mu sync.Mutex
	// dropped are snapshots that go in Cleanup.
	dropped []string
}

// barrier is passed once; every later pass returns what the first one did.
type barrier struct {
	once sync.Once
	err  error
}

func (b *barrier) pass(ctx context.Context, syncer func(context.Context) error) error {
	b.once.Do(func() { b.err = syncer(ctx) })
	return b.err
}

type collectionKey struct{}

// withCollection starts a new run.
func withCollection(ctx context.Context) context.Context {
	return context.WithValue(ctx, collectionKey{}, new(collection))
}

// guard waits until dropping a file cannot contradict the metadata that a power loss would bring back.
func guard(ctx context.Context, which func(*collection) *barrier, syncer func(context.Context) error) error {
	if run, ok := ctx.Value(collectionKey{}).(*collection); ok {
		return which(run).pass(ctx, syncer)
	}
	if _, ok := boltutil.Transaction(ctx); ok {
		// Undoing a creation inside the transaction that would have named it: no safe point can name it.
		return nil
	}
	return syncer(ctx)
}

// guardedContent is a content backend that deletes blobs only behind the barrier.
type guardedContent struct {
	content.Store
	sync func(context.Context) error
}

// Delete implements content.Manager.
func (c *guardedContent) Delete(ctx context.Context, dgst digest.Digest) error {
	if err := guard(ctx, func(r *collection) *barrier { return &r.content }, c.sync); err != nil {
		return err
	}
	return c.Store.Delete(ctx, dgst)
}

// WalkStatusRefs keeps the backend's quick way of listing ingests, which the metadata layer looks for.
func (c *guardedContent) WalkStatusRefs(ctx context.Context, fn func(string) error) error {
	if w, ok := c.Store.(interface {
		WalkStatusRefs(context.Context, func(string) error) error
	}); ok {
		return w.WalkStatusRefs(ctx, fn)
	}
	statuses, err := c.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, s := range statuses {
		if err := fn(s.Ref); err != nil {
			return err
		}
	}
	return nil
}

// guardedSnapshots is a snapshot backend that removes snapshots only behind the barrier.
//
// The metadata layer holds its lock while it drops snapshots one by one, and builds wait. Nobody can name them any more
// at that time, and their names are never used again, so a collection only notes them and drops them when the lock is
// free, in Cleanup. What a crash leaves, the next collection finds again.
type guardedSnapshots struct {
	snapshots.Snapshotter
	sync func(context.Context) error
}

// Remove implements snapshots.Snapshotter.
func (s *guardedSnapshots) Remove(ctx context.Context, key string) error {
	if run, ok := ctx.Value(collectionKey{}).(*collection); ok {
		run.mu.Lock()
		defer run.mu.Unlock()
		run.dropped = append(run.dropped, key)
		return nil
	}
	return s.remove(ctx, key)
}

func (s *guardedSnapshots) remove(ctx context.Context, key string) error {
	if err := guard(ctx, func(r *collection) *barrier { return &r.snapshots }, s.sync); err != nil {
		return err
	}
	return s.Snapshotter.Remove(ctx, key)
}

// Cleanup implements snapshots.Cleaner for backends that do; it frees only what Remove had dropped, or noted.
func (s *guardedSnapshots) Cleanup(ctx context.Context) error {
	if run, ok := ctx.Value(collectionKey{}).(*collection); ok {
		run.mu.Lock()
		dropped := run.dropped
		run.dropped = nil
		run.mu.Unlock()
		if err := s.drop(ctx, dropped); err != nil {
			return err
		}
	}
	if c, ok := s.Snapshotter.(snapshots.Cleaner); ok {
		return c.Cleanup(ctx)
	}
	return errdefs.ErrNotImplemented
}

// drop removes snapshots in the order in which they can be removed: a merged one before those it is made of.
func (s *guardedSnapshots) drop(ctx context.Context, keys []string) error {
	for len(keys) > 0 {
		var used []string
		var last error
		for _, key := range keys {
			err := s.remove(ctx, key)
			switch {
			case errdefs.IsFailedPrecondition(err):
				used, last = append(used, key), err
			case err != nil && !errdefs.IsNotFound(err):
				return err
			}
		}
		if len(used) == len(keys) {
			log.G(ctx).WithError(last).Warnf("%d snapshots that nobody names are still in use", len(used))
			return nil
		}
		keys = used
	}
	return nil
}
