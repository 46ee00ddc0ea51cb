package imagestore

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// unpacker makes the snapshots of one image, base first, under the lease of its
// context.
type unpacker struct {
	store *Store
	v     *Variant
}

// newUnpacker checks that an image can be unpacked and ties its last snapshot
// to its configuration, so that whatever exists of it is kept.
func (s *Store) newUnpacker(ctx context.Context, v *Variant) (*unpacker, error) {
	diffs := v.Config.RootFS.DiffIDs
	if len(diffs) != len(v.Manifest.Layers) {
		return nil, fmt.Errorf("configuration %s describes %d layers, the manifest has %d: %w",
			v.Manifest.Config.Digest, len(diffs), len(v.Manifest.Layers), errdefs.ErrInvalidArgument)
	}
	for _, d := range diffs {
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("configuration %s: layer %q: %w: %w", v.Manifest.Config.Digest, d, err, errdefs.ErrInvalidArgument)
		}
	}
	if len(diffs) > 0 {
		key := "containerd.io/gc.ref.snapshot." + s.cfg.SnapshotterName
		chain := identity.ChainID(append([]digest.Digest(nil), diffs...))
		info := content.Info{Digest: v.Manifest.Config.Digest, Labels: map[string]string{key: chain.String()}}
		if _, err := s.cfg.Content.Update(ctx, info, "labels."+key); err != nil {
			return nil, fmt.Errorf("keep snapshot of %s: %w", v.Descriptor.Digest, err)
		}
	}
	return &unpacker{s, v}, nil
}

// layer makes the snapshot of one layer; those below it are there.
func (u *unpacker) layer(ctx context.Context, i int) error {
	diffs := u.v.Config.RootFS.DiffIDs
	blob := u.v.Manifest.Layers[i]
	l := rootfs.Layer{Diff: ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: diffs[i]}, Blob: blob}
	// The callee appends to what it is given.
	below := append(make([]digest.Digest, 0, len(diffs)), diffs[:i]...)
	if _, err := rootfs.ApplyLayer(ctx, l, below, u.store.cfg.Snapshotter, u.store.cfg.Applier); err != nil {
		return fmt.Errorf("unpack layer %s: %w", blob.Digest, err)
	}
	return nil
}

// unpack makes all snapshots of an image whose blobs are here.
func (s *Store) unpack(ctx context.Context, v *Variant) error {
	u, err := s.newUnpacker(ctx, v)
	if err != nil {
		return err
	}
	for i := range v.Manifest.Layers {
		if err := u.layer(ctx, i); err != nil {
			return err
		}
	}
	return nil
}
