package imagestore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/event"
)

// Prune removes the images that a filter chooses: those without a name, or all
// if everything is set. It returns what it did and how many bytes that freed.
// One prune runs at a time; another is errdefs Conflict.
func (s *Store) Prune(ctx context.Context, f Filter, everything bool) ([]Removed, int64, error) {
	if !s.pruning.CompareAndSwap(false, true) {
		return nil, 0, kind(errdefs.ErrConflict, "a prune operation is already running")
	}
	defer s.pruning.Store(false)
	ctx = s.ctx(ctx)
	f.Dangling = nil
	if !everything {
		dangling := true
		f.Dangling = &dangling
	}
	list, err := s.List(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	held := newHeld()
	var out []Removed
	for _, l := range list {
		done, err := s.pruneOne(ctx, l, held)
		if err != nil {
			return out, 0, err
		}
		out = append(out, done...)
	}
	if len(out) > 0 {
		s.collect(ctx)
	}
	freed, err := s.freed(ctx, held)
	if err != nil {
		return out, 0, err
	}
	return out, freed, s.sync(ctx)
}

// pruneOne removes the names of one image.
func (s *Store) pruneOne(ctx context.Context, l Listed, held *held) ([]Removed, error) {
	if err := s.measure(ctx, l, held); err != nil {
		return nil, err
	}
	var out []Removed
	for _, im := range l.Names {
		s.announceUntag(ctx, im)
		target := im.Target
		if err := s.cfg.Images.Delete(ctx, im.Name, images.DeleteTarget(&target)); err != nil {
			if errdefs.IsNotFound(err) {
				continue
			}
			return out, fmt.Errorf("remove image %s: %w", Familiar(im), err)
		}
		out = append(out, Removed{Untagged: Familiar(im)})
	}
	id := l.Names[0].Target.Digest
	left, err := s.Names(ctx, id)
	if err == nil && len(left) == 0 {
		out = append(out, Removed{Deleted: id.String()})
		s.announce(ctx, "delete", id.String(), id.String())
	}
	return out, err
}

// held is what images held, with sizes.
type held struct {
	blobs, snapshots map[digest.Digest]int64
}

func newHeld() *held {
	return &held{blobs: map[digest.Digest]int64{}, snapshots: map[digest.Digest]int64{}}
}

// measure notes what an image holds.
func (s *Store) measure(ctx context.Context, l Listed, h *held) error {
	for i := range l.Variants {
		for _, id := range l.Variants[i].ChainIDs() {
			n, err := s.SnapshotSize(ctx, id)
			if err != nil {
				return err
			}
			h.snapshots[id] = n
		}
	}
	err := s.walk(ctx, l.Names[0].Target, func(d ocispecs.Descriptor) error {
		h.blobs[d.Digest] = d.Size
		return nil
	}, nil)
	if errdefs.IsInvalidArgument(err) {
		// An image that is broken goes like any other.
		return nil
	}
	return err
}

// freed is how much of it is gone.
func (s *Store) freed(ctx context.Context, h *held) (int64, error) {
	var total int64
	for d, n := range h.blobs {
		if _, err := s.cfg.Content.Info(ctx, d); errdefs.IsNotFound(err) {
			total += n
		} else if err != nil {
			return 0, fmt.Errorf("look up blob %s: %w", d, err)
		}
	}
	for id, n := range h.snapshots {
		if _, err := s.cfg.Snapshotter.Stat(ctx, id.String()); errdefs.IsNotFound(err) {
			total += n
		} else if err != nil {
			return 0, fmt.Errorf("look up snapshot %s: %w", id, err)
		}
	}
	return total, nil
}

// Pruned tells listeners that a client pruned images.
func (s *Store) Pruned(freed int64) {
	s.cfg.Events.Publish(event.Event{Type: event.TypeImage, Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(freed, 10)}})
}
