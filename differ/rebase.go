package differ

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	differdiff "github.com/kilnbuild/kiln/differ/diff"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
)

// PortableLayer reports whether the one layer that upper has more than lower
// can be laid over anything else and still does what a blob of it would do. It
// cannot if it has opaque directories, which hide more than lower holds, or
// files that are as they are in lower, which nobody changed. See diff.Portable.
//
// Mounts that do not tell the layer's directory, and layers that only the
// kernel can read, fail with an error that wraps diff.ErrNeedsMount.
func PortableLayer(ctx context.Context, lower, upper []mount.Mount) (bool, error) {
	pair, ok := layeredPair(lower, upper)
	if !ok {
		return false, fmt.Errorf("look at layer: %w", differdiff.ErrNeedsMount)
	}
	return differdiff.Portable(ctx, pair)
}

// RebaseLayer fills the empty layer directory target, which has to be on the
// same file system, with the portable form of the one layer that upper has more
// than lower. Files are hard links. It fails where PortableLayer does; target
// then holds part of it and is good for nothing.
func RebaseLayer(ctx context.Context, lower, upper []mount.Mount, target string) error {
	pair, ok := layeredPair(lower, upper)
	if !ok {
		return fmt.Errorf("rebase layer: %w", differdiff.ErrNeedsMount)
	}
	return differdiff.Rebase(ctx, pair, target)
}

// layeredPair finds the layer that upper has more than lower, if that is all.
func layeredPair(lower, upper []mount.Mount) (differdiff.Pair, bool) {
	low, okLow := overlay.ParseView(lower)
	up, okUp := overlay.ParseView(upper)
	if !okLow || !okUp {
		return differdiff.Pair{}, false
	}
	dir, ok := overlay.Delta(low, up)
	if !ok {
		return differdiff.Pair{}, false
	}
	attrs := up.Attrs
	if !up.Overlay {
		attrs = low.Attrs
	}
	return differdiff.Pair{Upper: dir, Lower: low.Dirs, Layered: true, UserXattr: attrs == overlay.UserAttrs}, true
}
