package image

import (
	"context"
	"fmt"
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
// Labels that somebody put on an entry stay.
func (n *namer) put(ctx context.Context, name string) error {
	im := images.Image{Name: name, Target: n.target, Labels: map[string]string{LabelBuilt: "true"}}
	for {
		_, err := n.images.Create(ctx, im)
		if !errdefs.IsAlreadyExists(err) {
			return err
		}
		if _, err = n.images.Update(ctx, im, "target"); !errdefs.IsNotFound(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
