package ref

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// LayerRebaser knows what a layer's own directory holds and what of it only
// means something over the layers it was made on: opaque directories, which
// hide whatever is below them, and files and directories that are in it because
// somebody touched them, but as they were. Layers that are portable have
// neither; everybody else's blobs of them say the same as their directories.
type LayerRebaser interface {
	// Portable reports whether the one layer that upper has more than lower is
	// portable. An error says that it cannot tell.
	Portable(ctx context.Context, lower, upper []mount.Mount) (bool, error)
	// Rebase fills the empty directory of a layer with the portable form of
	// that layer, without copying. After an error the directory is spoilt.
	Rebase(ctx context.Context, lower, upper []mount.Mount, dir string) error
}

// portable returns, with one hold, the layer that does over any other what the
// own layer of e does over its parent, as its blob would: e itself, or a form
// of it that is made once and found again as long as somebody needs it. The
// caller holds e.
func (s *Store) portable(ctx context.Context, e *entry) (*entry, error) {
	v, err := s.flights.do(ctx, "portable "+e.lease, work{
		begin: func() func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			e.holds++
			return func() { s.release(context.WithoutCancel(ctx), e) }
		},
		run: func(ctx context.Context) (any, error) { return s.findPortable(ctx, e) },
		join: func(v any) {
			s.mu.Lock()
			defer s.mu.Unlock()
			v.(*entry).holds++
		},
		drop: func(v any) { s.release(context.WithoutCancel(ctx), v.(*entry)) },
	})
	if err != nil {
		return nil, fmt.Errorf("layer %s for other layers: %w", e.id, err)
	}
	return v.(*entry), nil
}

// findPortable does the work of portable.
func (s *Store) findPortable(ctx context.Context, e *entry) (*entry, error) {
	if id := e.portableID(); id != "" {
		other, err := s.hold(ctx, id)
		if err == nil || !errdefs.IsNotFound(err) {
			return other, err
		}
	}
	ok, err := s.isPortable(ctx, e)
	if err != nil {
		return nil, err
	}
	if ok {
		if err := e.setPortable(e.id); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		e.holds++
		return e, nil
	}
	other, err := s.rebase(ctx, e)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(other.setPortable(other.id), e.setPortable(other.id)); err != nil {
		s.release(ctx, other)
		return nil, err
	}
	return other, nil
}

// isPortable looks at the own layer of e.
func (s *Store) isPortable(ctx context.Context, e *entry) (bool, error) {
	if e.came() {
		// What an image's layer lists, its author meant, and its blob is what
		// registries have. Only opaque directories say too much.
		idx, err := s.index(ctx, e)
		if err != nil {
			return false, err
		}
		for _, x := range idx.idx.Entries() {
			if x.Opaque {
				return false, nil
			}
		}
		return true, nil
	}
	if len(e.parents) == 0 || s.cfg.Merge == nil {
		// Over nothing there is nothing to hide, or to leave unchanged; and
		// without Config.Merge it is blobs that are laid over others.
		return true, nil
	}
	if s.cfg.Rebaser == nil {
		return false, nil
	}
	lower, upper, release, err := s.pair(ctx, e)
	if err != nil {
		return false, err
	}
	ok, err := s.cfg.Rebaser.Portable(ctx, lower, upper)
	if rerr := release(); rerr != nil {
		return false, rerr
	}
	if err != nil && ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		log.G(ctx).WithError(err).WithField("ref", e.id).Debug("layer directory cannot be read, comparing")
	}
	return ok && err == nil, nil
}

// rebase makes the portable form of the own layer of e, over the same parent.
func (s *Store) rebase(ctx context.Context, e *entry) (_ *entry, err error) {
	lower, upper, release, err := s.pair(ctx, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if s.cfg.Rebaser != nil {
		out, err := s.derive(ctx, e, func(a *Active) (*layerindex.Index, error) {
			dir, ok := a.UpperDir(ctx)
			if !ok {
				return nil, fmt.Errorf("the snapshotter has no layer directories: %w", errdefs.ErrNotImplemented)
			}
			return nil, s.cfg.Rebaser.Rebase(ctx, lower, upper, dir)
		})
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		log.G(ctx).WithError(err).WithField("ref", e.id).Debug("layer cannot be linked into another, copying")
	}
	return s.derive(ctx, e, func(a *Active) (*layerindex.Index, error) { return s.copyDifference(ctx, a, lower, upper) })
}

// derive makes a layer over the parent of e that is a form of its own layer.
func (s *Store) derive(ctx context.Context, e *entry, fill func(*Active) (*layerindex.Index, error)) (_ *entry, err error) {
	info := e.describe()
	rec := s.newRecord(kindActive, []Option{WithDescription(info.Description), WithRecordType(info.RecordType), WithCreatedAt(info.CreatedAt)})
	var parent *Ref
	if len(e.parents) > 0 {
		parent = &Ref{e: e.parents[0], borrowed: true}
	}
	a, err := s.prepare(ctx, rec, parent, e)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = withCleanup(err, a.Discard(ctx))
		}
	}()
	idx, err := fill(a)
	if err != nil {
		return nil, err
	}
	r, err := a.Commit(ctx, withOptionalIndex(idx)...)
	if err != nil {
		return nil, err
	}
	return r.e, nil // with the hold of r
}

// copyDifference unpacks what lies between the mounts into a, which is over the
// lower ones.
func (s *Store) copyDifference(ctx context.Context, a *Active, lower, upper []mount.Mount) (*layerindex.Index, error) {
	lctx := s.leased(ctx, a.e.lease)
	layer, _, err := s.cfg.Comparer.CompareLayer(lctx, lower, upper, CompareOptions{Compression: Uncompressed})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	mounts, err := a.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	_, idx, err := s.cfg.Applier.ApplyLayer(lctx, layer.Descriptor, mounts, nil)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return idx, s.dropBlob(ctx, a.e, layer.Descriptor.Digest)
}

// packed is the entry whose blobs are those of e: a portable form has the blobs
// of its source, unless those came with an image and have opaque directories.
func (e *entry) packed() *entry {
	if e.source == nil || e.source.came() {
		return e
	}
	return e.source
}

// came reports whether the own layer came with an image.
func (e *entry) came() bool {
	_, ok := e.blob(originalVariant)
	return ok
}

// describe returns what the record tells.
func (e *entry) describe() Info {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return recordInfo(&e.rec)
}

func (e *entry) portableID() string {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.rec.Portable
}

func (e *entry) setPortable(id string) error {
	e.s.mu.Lock()
	same := e.rec.Portable == id
	e.rec.Portable = id
	e.s.mu.Unlock()
	if same {
		return nil
	}
	return e.s.save(e)
}
