package differ

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/kilnbuild/kiln/differ/apply"
	"github.com/kilnbuild/kiln/differ/compress"
	differdiff "github.com/kilnbuild/kiln/differ/diff"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/differ/linked"
)

// Config tunes a Differ. The zero value is right for most hosts.
type Config struct {
	// GzipLevel (0–9) and ZstdLevel (0–22) are used when a call names no level
	// and no compressor of its own; nil means the algorithm's default.
	GzipLevel, ZstdLevel *int
	// UserXattrs also stores user.* attributes in layers. Other differs store
	// file capabilities only, so layers that use it get other digests.
	UserXattrs bool
	// Limits bound the archives that are applied.
	Limits apply.Limits
	// Decompress bounds what a compressed blob may allocate.
	Decompress compress.Limits
	// Linked, optional, is the content backend below the store, if it has
	// linked blobs: an uncompressed layer then shares the bytes of larger files
	// with the layer's directory.
	Linked *linked.Store
	// Mounts activates mounts that the kernel does not know, such as templates of
	// the erofs snapshotter. Nil means that all mounts are mounted directly.
	Mounts mount.Manager
}

// Differ implements diff.Comparer and diff.Applier over a content store.
type Differ struct {
	store  content.Store
	config Config
}

var (
	_ diff.Comparer = (*Differ)(nil)
	_ diff.Applier  = (*Differ)(nil)
)

// New returns a Differ that reads and writes blobs in store.
func New(store content.Store, config Config) *Differ {
	return &Differ{store: store, config: config}
}

// IndexDir builds the index of a layer from its overlayfs directory, hashing
// files on all cores and making no tar. Unlike CompareLayer it describes the
// directory itself: files equal to the lower layers' are listed, opaque
// directories are marked rather than spelled out as whiteouts.
//
// A layer that is not self-contained (overlayfs redirects, metadata-only
// copies) fails with an error that wraps diff.ErrNeedsMount.
func IndexDir(ctx context.Context, upperDir string) (*layerindex.Index, error) {
	index, err := differdiff.Index(ctx, upperDir, overlay.DefaultAttrs() == overlay.UserAttrs)
	if err != nil {
		return nil, fmt.Errorf("index layer directory: %w", err)
	}
	return index, nil
}
