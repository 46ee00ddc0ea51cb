package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// unpacker makes the snapshot of an image for this machine's platform.
type unpacker struct {
	cfg   *Config
	image *manifest.Image
	env   solver.Env

	// snapshot is the name of what the image was unpacked to; empty for none.
	snapshot string
}

// unpack sees to it that the snapshot is there and lives as long as the image.
// An image for other platforms only, or without layers, needs none. A second
// call, for another name, finds it done.
func (u *unpacker) unpack(ctx context.Context, name string) error {
	m := u.native()
	if m == nil || len(m.DiffIDs) == 0 {
		return nil
	}
	defer progress.Status(u.env, "unpacking to "+name, "").Done()
	chain := identity.ChainIDs(slices.Clone(m.DiffIDs))
	refs := m.Ref.Chain()
	if len(refs) != len(chain) {
		return fmt.Errorf("image has %d layers, its file system %d: %w", len(chain), len(refs), errdefs.ErrFailedPrecondition)
	}
	for i := range chain {
		parent := digest.Digest("")
		if i > 0 {
			parent = chain[i-1]
		}
		if err := u.layer(ctx, m, i, chain[i], parent, refs[i]); err != nil {
			return fmt.Errorf("layer %s: %w", m.Layers[i].Digest, err)
		}
	}
	// containerd finds the snapshot through the configuration.
	key := "containerd.io/gc.ref.snapshot." + u.cfg.SnapshotterName
	u.snapshot = chain[len(chain)-1].String()
	info, err := u.cfg.Content.Info(ctx, m.Config.Digest)
	if err != nil || info.Labels[key] == u.snapshot {
		return err
	}
	info = content.Info{Digest: m.Config.Digest, Labels: map[string]string{key: u.snapshot}}
	_, err = u.cfg.Content.Update(ctx, info, "labels."+key)
	return err
}

// native returns the manifest that runs best on this machine, nil if none does.
func (u *unpacker) native() *manifest.Manifest {
	var best *manifest.Manifest
	match := platforms.Only(platforms.DefaultSpec())
	for i := range u.image.Manifests {
		m := &u.image.Manifests[i]
		p := *m.Descriptor.Platform
		if match.Match(p) && (best == nil || match.Less(p, *best.Descriptor.Platform)) {
			best = m
		}
	}
	return best
}

// layer makes the snapshot named chain on top of parent, unless it is there.
func (u *unpacker) layer(ctx context.Context, m *manifest.Manifest, i int, chain, parent digest.Digest, from *ref.Ref) error {
	if ok, err := u.have(ctx, chain); ok || err != nil {
		return err
	}
	// An eStargz layer has a file more than the step's.
	if ref.CompressionOfLayer(m.Layers[i]) != ref.Estargz {
		err := u.make(ctx, chain, parent, func(key string, _ []mount.Mount) error { return u.link(ctx, key, from) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		log.G(ctx).WithError(err).Debugf("snapshot %s cannot be linked, unpacking it", chain)
	}
	return u.make(ctx, chain, parent, func(_ string, mounts []mount.Mount) error {
		got, err := u.cfg.Applier.Apply(ctx, m.Layers[i], mounts)
		if err == nil && got.Digest != m.DiffIDs[i] {
			err = fmt.Errorf("unpacked content is %s, not %s: %w", got.Digest, m.DiffIDs[i], errdefs.ErrFailedPrecondition)
		}
		return err
	})
}

// have reports whether the snapshot is there, and keeps it.
func (u *unpacker) have(ctx context.Context, chain digest.Digest) (bool, error) {
	if _, err := u.cfg.Snapshotter.Stat(ctx, chain.String()); err != nil {
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		return false, err
	}
	if id, ok := leases.FromContext(ctx); ok {
		res := leases.Resource{ID: chain.String(), Type: "snapshots/" + u.cfg.SnapshotterName}
		if err := u.cfg.Leases.AddResource(ctx, leases.Lease{ID: id}, res); err != nil {
			return false, err
		}
	}
	// It may have been collected before the lease had it.
	_, err := u.cfg.Snapshotter.Stat(ctx, chain.String())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// make prepares a snapshot, lets fill write its files and commits it. Somebody
// else making it at the same time is no failure.
func (u *unpacker) make(ctx context.Context, chain, parent digest.Digest, fill func(key string, mounts []mount.Mount) error) error {
	sn := u.cfg.Snapshotter
	lease, _ := leases.FromContext(ctx)
	key := "kiln-unpack-" + lease + "-" + chain.Encoded()
	mounts, err := sn.Prepare(ctx, key, parent.String())
	if err != nil {
		return fmt.Errorf("prepare snapshot: %w", err)
	}
	if err = fill(key, mounts); err == nil {
		err = sn.Commit(ctx, chain.String(), key)
	}
	if err == nil {
		return nil
	}
	if rerr := sn.Remove(context.WithoutCancel(ctx), key); rerr != nil {
		log.G(ctx).WithError(rerr).Warnf("remove snapshot %s", key)
	}
	if errdefs.IsAlreadyExists(err) {
		_, err = u.have(ctx, chain)
	}
	return err
}

// link fills the active snapshot key with the own files of a ref's layer.
func (u *unpacker) link(ctx context.Context, key string, from *ref.Ref) error {
	if u.cfg.UpperDir == nil {
		return fmt.Errorf("the snapshotter does not tell where files are: %w", errdefs.ErrNotImplemented)
	}
	src, err := u.cfg.UpperDir(ctx, from.Info().Snapshot)
	if err != nil {
		return err
	}
	dst, err := u.cfg.UpperDir(ctx, key)
	if err != nil {
		return err
	}
	return linkTree(ctx, src, dst)
}
