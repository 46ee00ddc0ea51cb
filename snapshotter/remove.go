package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// cleanupBatch is how many directory entries Cleanup looks at in one go.
const cleanupBatch = 256

// Remove deletes a snapshot: its record, durably, and then its directory from
// sight. The time does not depend on the size of the layer; Cleanup frees the
// space. NotFound: no such snapshot. FailedPrecondition: others are on top.
func (s *Snapshotter) Remove(ctx context.Context, key string) error {
	var id uint64
	lasting := false
	err := s.store.change(ctx, key, func(tx *storeTx) error {
		r, err := tx.get(key)
		if err == nil {
			err = checkSettled(key, &r)
		}
		if err != nil {
			return err
		}
		if tx.hasChildren(r.ID) {
			return fmt.Errorf("snapshot %q is used by others: %w", key, errdefs.ErrFailedPrecondition)
		}
		id, lasting = r.ID, !r.volatile
		return tx.remove(key, &r)
	})
	if err != nil {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	if lasting {
		// A power failure must not bring back a name whose files are gone.
		err = s.store.settled(ctx)
	}
	if err == nil {
		err = s.layout.discardAll(id)
	}
	if err != nil {
		// The name is gone, which is what was asked for.
		log.G(ctx).WithError(err).Warn("leave directory of removed snapshot to cleanup")
		s.rescan.Store(true)
	}
	return nil
}

// Cleanup frees the space of removed snapshots. The first call of a process
// also finds what an earlier one left behind: directories without metadata and
// temporary files. Memory is bounded, no lock is held while files are deleted,
// and when the context or Config.CleanupLimit ends the rest is for the next
// call. A second call waits for the first.
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	limited := ctx
	if s.config.CleanupLimit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, s.config.CleanupLimit)
		defer cancel()
	}
	err := s.cleanup(limited)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil // our own limit: not the caller's concern
	}
	return err
}

func (s *Snapshotter) cleanup(ctx context.Context) error {
	if s.rescan.Swap(false) {
		if err := s.discardOrphans(ctx); err != nil {
			s.rescan.Store(true)
			return err
		}
	}
	trash := filepath.Join(s.layout.root, trashName)
	var failed error
	err := eachBatch(ctx, trash, func(names []string) error {
		for _, name := range names {
			if err := removeTree(ctx, filepath.Join(trash, name)); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				// One stubborn directory must not keep the others.
				failed = err
			}
		}
		return nil
	})
	if err == nil && failed != nil {
		err = fmt.Errorf("delete removed snapshots: %w", failed)
	}
	return err
}

// eachBatch lists a directory piece by piece.
func eachBatch(ctx context.Context, dir string, fn func(names []string) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("list snapshot directory: %w", err)
	}
	defer f.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := f.Readdirnames(cleanupBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list snapshot directory: %w", err)
		}
		if err := fn(names); err != nil {
			return err
		}
	}
}

// removeTree deletes a tree of the trash and can be interrupted between the
// entries of its top directory, where large layers branch.
func removeTree(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return os.RemoveAll(path)
	}
	err = eachBatch(ctx, path, func(names []string) error {
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := os.RemoveAll(filepath.Join(path, name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// discardOrphans moves everything without metadata into the trash.
func (s *Snapshotter) discardOrphans(ctx context.Context) error {
	if err := s.store.settled(ctx); err != nil {
		return fmt.Errorf("look for orphans: %w", err)
	}
	for _, name := range []string{fsName, workName, indexName} {
		dir := filepath.Join(s.layout.root, name)
		err := eachBatch(ctx, dir, func(names []string) error {
			orphans, err := s.orphans(names)
			if err != nil || len(orphans) == 0 {
				return err
			}
			// Again, now that no Prepare is between its directory and its
			// record: all that is still without metadata is nobody's.
			return s.store.exclude(func(tx *storeTx) error {
				for _, name := range orphans {
					if s.owned(tx, name) {
						continue
					}
					if err := s.layout.discard(filepath.Join(dir, name)); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// orphans selects the names that have no metadata.
func (s *Snapshotter) orphans(names []string) (orphans []string, err error) {
	err = s.store.view(func(tx *storeTx) error {
		for _, name := range names {
			if !s.owned(tx, name) {
				orphans = append(orphans, name)
			}
		}
		return nil
	})
	return orphans, err
}

// owned reports whether a directory entry belongs to a snapshot, or is a
// temporary file of this process.
func (s *Snapshotter) owned(tx *storeTx, name string) bool {
	digits, rest, temporary := strings.Cut(name, ".")
	if temporary && strings.HasPrefix(rest, s.layout.run+"-") {
		return true
	}
	id, err := strconv.ParseUint(digits, 10, 64)
	return err == nil && !temporary && tx.exists(id)
}
