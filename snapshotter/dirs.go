package snapshotter

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// Dirs gives code in the same process access to the directories of layers. A
// key is a name of this snapshotter, or the name a client of containerd uses in
// the context's namespace; the newest one if the name was used again. All
// directories of one snapshotter are on one file system, so files can be
// hard-linked from one layer to another.
type Dirs interface {
	// UpperDir is the directory with what the snapshot adds to those below,
	// in overlay's own format (whiteouts are character devices 0:0, or
	// extended attributes). FailedPrecondition for a view, which has none.
	// The directory of a committed snapshot must not be written to.
	UpperDir(ctx context.Context, key string) (string, error)
	// LowerDirs are the directories below the snapshot, the uppermost first;
	// none for a snapshot without parents.
	LowerDirs(ctx context.Context, key string) ([]string, error)
}

var _ Dirs = (*Snapshotter)(nil)

// UpperDir implements Dirs.
func (s *Snapshotter) UpperDir(ctx context.Context, key string) (path string, err error) {
	err = s.store.view(func(tx *storeTx) error {
		r, err := resolve(ctx, tx, key)
		if err != nil {
			return err
		}
		if r.Kind == snapshots.KindView {
			return fmt.Errorf("snapshot %q is a view and has no layer: %w", key, errdefs.ErrFailedPrecondition)
		}
		path = s.layout.upper(r.ID)
		return nil
	})
	return path, err
}

// LowerDirs implements Dirs.
func (s *Snapshotter) LowerDirs(ctx context.Context, key string) (paths []string, err error) {
	err = s.store.view(func(tx *storeTx) error {
		r, err := resolve(ctx, tx, key)
		if err != nil {
			return err
		}
		stack, err := tx.stack(r.ID)
		paths = s.paths(stack)
		return err
	})
	return paths, err
}
