package image

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// LabelBuilt marks entries that were made here. An entry that somebody else
// made and a build moved on has not got it.
const LabelBuilt = "kiln/built"

// namer gives names to an image in containerd's store.
type namer struct {
	images images.Store
	target ocispecs.Descriptor
	// epoch dates the entries; nil for now.
	epoch *time.Time
	// canonical adds a name with the digest.
	canonical bool

	// entries are those that name the image now; changed tells that one of them
	// did not before, or was dated otherwise.
	entries []images.Image
	changed bool
}

// name makes name, wherever it pointed before, name the image.
func (n *namer) name(ctx context.Context, name string, given bool, env solver.Env) error {
	defer progress.Status(env, "naming to "+name, "").Done()
	if n.epoch != nil {
		// The store takes its times from here and not from the entry.
		ctx = epoch.WithSourceDateEpoch(ctx, n.epoch)
	}
	entries := []string{name}
	if n.canonical && given && !strings.Contains(name, "@") {
		entries = append(entries, name+"@"+n.target.Digest.String())
	}
	for _, e := range entries {
		if err := n.put(ctx, e); err != nil {
			return fmt.Errorf("name image %s: %w", e, err)
		}
	}
	return nil
}

// put creates or changes an entry; others may do the same at the same time.
// Labels that somebody put on an entry stay. An entry that says the same is not
// written again: nobody could tell, but the store's other users would be told.
func (n *namer) put(ctx context.Context, name string) error {
	im := images.Image{Name: name, Target: n.target, Labels: map[string]string{LabelBuilt: "true"}}
	for {
		old, err := n.images.Get(ctx, name)
		switch {
		case err == nil && n.same(old):
			n.entries = append(n.entries, old)
			return nil
		case err == nil:
			im, err = n.images.Update(ctx, im, "target")
		case errdefs.IsNotFound(err):
			im, err = n.images.Create(ctx, im)
		default:
			return err
		}
		if err == nil {
			n.entries, n.changed = append(n.entries, im), true
			return nil
		}
		// Somebody else made or removed it in between.
		if !errdefs.IsAlreadyExists(err) && !errdefs.IsNotFound(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// same reports whether an entry need not be changed. The store keeps no
// platform of a target.
func (n *namer) same(old images.Image) bool {
	was, is := old.Target, n.target
	return was.Digest == is.Digest && was.MediaType == is.MediaType && was.Size == is.Size && maps.Equal(was.Annotations, is.Annotations) &&
		(n.epoch == nil || old.UpdatedAt.Equal(*n.epoch))
}
