package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// Indexes keeps one blob per layer for whoever describes layers. Its format is
// not this package's business. It lives as long as the layer, across Commit,
// and can always be computed again, so a power failure may lose it but never
// damage it. Keys are as for Dirs.
type Indexes interface {
	// Index returns the blob; NotFound if there is no such snapshot or it has
	// none.
	Index(ctx context.Context, key string) ([]byte, error)
	// SetIndex replaces the blob, atomically. FailedPrecondition for a view.
	// For an active snapshot the caller sees to it that the layer does not
	// change afterwards.
	SetIndex(ctx context.Context, key string, data []byte) error
}

var _ Indexes = (*Snapshotter)(nil)

// Index implements Indexes.
func (s *Snapshotter) Index(ctx context.Context, key string) ([]byte, error) {
	id, err := s.layerID(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.layout.index(id))
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("snapshot %q has no index: %w", key, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read index of snapshot %q: %w", key, err)
	}
	return data, nil
}

// SetIndex implements Indexes.
func (s *Snapshotter) SetIndex(ctx context.Context, key string, data []byte) error {
	id, err := s.layerID(ctx, key)
	if err != nil {
		return err
	}
	path := s.layout.index(id)
	// A name that Cleanup recognises as this process's, and so leaves alone.
	tmp := path + "." + s.layout.temporary()
	if err := writeDurable(tmp, data); err != nil {
		return errors.Join(fmt.Errorf("write index of snapshot %q: %w", key, err), removeIfExists(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("write index of snapshot %q: %w", key, err), removeIfExists(tmp))
	}
	// Remove may have passed by since the look-up; then nobody else will.
	gone := false
	err = s.store.view(func(tx *storeTx) error {
		gone = !tx.exists(id)
		return nil
	})
	if err == nil && gone {
		return errors.Join(fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound), removeIfExists(path))
	}
	return err
}

// layerID resolves a key to the number of its layer; views have none.
func (s *Snapshotter) layerID(ctx context.Context, key string) (id uint64, err error) {
	err = s.store.view(func(tx *storeTx) error {
		r, err := resolve(ctx, tx, key)
		if err == nil && r.Kind == snapshots.KindView {
			err = fmt.Errorf("snapshot %q is a view and has no layer: %w", key, errdefs.ErrFailedPrecondition)
		}
		id = r.ID
		return err
	})
	return id, err
}

// writeDurable creates a file whose content is on disk when it returns.
func writeDurable(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
