package ref

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// labelAlias is on snapshots that Unpack made out of another one, which it
// names: their own directory is empty.
const labelAlias = "kiln/ref.alias"

// Unpack gives the snapshots of the file system the names under which
// containerd looks for an image's, so that containers start from it without
// unpacking anything. layers are what Layers returned. It returns the name of
// the topmost, a chain ID, and "" for a nil Ref. Nothing is copied if
// Config.Merge is set. The lease in ctx, which it must have, owns the
// snapshots; labels see to it that they keep what they are made of.
func (r *Ref) Unpack(ctx context.Context, layers []Layer) (string, error) {
	if r == nil {
		return "", nil
	}
	s, chain := r.e.s, r.e.chain()
	lease, ok := leases.FromContext(ctx)
	if !ok {
		return "", fmt.Errorf("unpack ref %s: no lease: %w", r.e.id, errdefs.ErrFailedPrecondition)
	}
	if len(layers) != len(chain) {
		return "", fmt.Errorf("unpack ref %s: %d layers given, it has %d: %w", r.e.id, len(layers), len(chain), errdefs.ErrInvalidArgument)
	}
	diffIDs := make([]digest.Digest, len(layers))
	for i, l := range layers {
		diffIDs[i] = l.DiffID
	}
	parent := ""
	for i, id := range identity.ChainIDs(diffIDs) {
		name := id.String()
		if err := s.alias(s.leased(ctx, lease), chain[i], layers[i], name, parent); err != nil {
			return "", fmt.Errorf("unpack layer %d of ref %s: %w", i, r.e.id, err)
		}
		parent = name
	}
	return parent, nil
}

// alias makes the committed snapshot name with the own layer of e over parent,
// unless it exists, owned by the lease in ctx.
func (s *Store) alias(ctx context.Context, e *entry, layer Layer, name, parent string) error {
	lease, _ := leases.FromContext(ctx)
	res := leases.Resource{ID: name, Type: "snapshots/" + s.cfg.SnapshotterName}
	if err := s.cfg.Leases.AddResource(ctx, leases.Lease{ID: lease}, res); err != nil {
		return fmt.Errorf("own snapshot %s: %w", name, err)
	}
	if _, err := s.cfg.Snapshotter.Stat(ctx, name); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	key := activePrefix + "alias-" + s.unique()
	err := s.fillAlias(ctx, e, layer, key, parent)
	if err == nil {
		err = s.cfg.Snapshotter.Commit(ctx, name, key, s.aliasLabels(e))
	}
	if err != nil {
		rerr := s.cfg.Snapshotter.Remove(context.WithoutCancel(ctx), key)
		if errdefs.IsNotFound(rerr) {
			rerr = nil
		}
		if errdefs.IsAlreadyExists(err) {
			return rerr // somebody else was faster
		}
		return withCleanup(err, rerr)
	}
	if s.cfg.Merge == nil || s.cfg.Layers == nil {
		return nil
	}
	// The alias describes the same layer; without this it would be compared.
	if idx := s.readIndex(ctx, e); idx != nil {
		return s.cfg.Layers.SetIndex(ctx, name, idx.Encode())
	}
	return nil
}

// fillAlias prepares the writable snapshot key.
func (s *Store) fillAlias(ctx context.Context, e *entry, layer Layer, key, parent string) error {
	if s.cfg.Merge != nil {
		spans := spansOf([]*entry{e})
		if parent != "" {
			spans = append([]Span{{Upper: parent}}, spans...)
		}
		_, err := s.cfg.Merge(ctx, key, spans)
		return err
	}
	mounts, err := s.cfg.Snapshotter.Prepare(ctx, key, parent)
	if err != nil {
		return err
	}
	return s.applyChecked(ctx, layer, mounts)
}

// applyChecked unpacks a layer and checks what came out.
func (s *Store) applyChecked(ctx context.Context, layer Layer, mounts []mount.Mount) error {
	diffID, _, err := s.cfg.Applier.ApplyLayer(ctx, layer.Descriptor, mounts, nil)
	if err == nil && diffID != layer.DiffID {
		err = fmt.Errorf("content of %s is %s, expected %s: %w", layer.Descriptor.Digest, diffID, layer.DiffID, errdefs.ErrFailedPrecondition)
	}
	return err
}

// aliasLabels make containerd's collector keep the snapshot that an alias is
// made of, and say that it is one.
func (s *Store) aliasLabels(e *entry) snapshots.Opt {
	if s.cfg.Merge == nil {
		return func(*snapshots.Info) error { return nil }
	}
	key := e.snapshot()
	return snapshots.WithLabels(map[string]string{
		labelAlias: key,
		"containerd.io/gc.ref.snapshot." + s.cfg.SnapshotterName: key,
	})
}

// isAlias reports whether the snapshot's own directory is not its layer.
func (s *Store) isAlias(ctx context.Context, key string) bool {
	info, err := s.cfg.Snapshotter.Stat(s.ctx(ctx), key)
	return err == nil && info.Labels[labelAlias] != ""
}
