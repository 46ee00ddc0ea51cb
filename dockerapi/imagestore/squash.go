package imagestore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// squash makes an image out of target in which all layers above the first keep
// are one, and returns what names it: files that were only there in between are
// gone. An image with no more than one such layer is returned as it is, but for
// its attestations. ctx is under a lease, which owns what is made.
func (s *Store) squash(ctx context.Context, target ocispecs.Descriptor, keep int) (_ ocispecs.Descriptor, err error) {
	v, err := s.Best(ctx, images.Image{Name: DanglingName(target.Digest), Target: target}, nil)
	if err != nil {
		return target, err
	}
	diffs := v.Config.RootFS.DiffIDs
	if keep > len(diffs) || len(diffs) != len(v.Manifest.Layers) {
		return target, invalid("cannot squash image %s: it has %d layers, %d of them from its base", target.Digest, len(diffs), keep)
	}
	if err := s.unpack(ctx, &v); err != nil {
		return target, err
	}
	if len(diffs)-keep <= 1 {
		return v.Descriptor, nil
	}
	store := &ingester{Store: s.cfg.Content}
	defer func() {
		if ferr := store.forget(context.WithoutCancel(ctx)); err == nil {
			err = ferr
		}
	}()
	layer, diffID, err := s.flatten(ctx, diffs, keep)
	if err != nil {
		return target, err
	}
	config, err := s.document(ctx, v.Manifest.Config, maxConfig)
	if err != nil {
		return target, err
	}
	if config, err = squashedConfig(config, diffs[:keep], diffID, target.Digest); err != nil {
		return target, err
	}
	m := *v.Manifest
	if m.Config, err = s.storeJSON(ctx, store, m.Config.MediaType, json.RawMessage(config)); err != nil {
		return target, err
	}
	if !strings.HasPrefix(m.MediaType, "application/vnd.oci.") {
		layer.MediaType = images.MediaTypeDockerSchema2LayerGzip
	}
	m.Layers = append(m.Layers[:keep:keep], layer)
	desc, err := s.storeJSON(ctx, store, v.Descriptor.MediaType, m)
	if err != nil {
		return target, err
	}
	if err := s.tie(ctx, desc, append([]ocispecs.Descriptor{m.Config}, m.Layers...)); err != nil {
		return target, err
	}
	desc.Platform = v.Descriptor.Platform
	made, err := s.variant(ctx, desc)
	if err != nil {
		return target, err
	}
	return desc, s.unpack(ctx, &made)
}

// flatten makes one layer of all that the layers above the first keep changed.
func (s *Store) flatten(ctx context.Context, diffs []digest.Digest, keep int) (_ ocispecs.Descriptor, _ digest.Digest, err error) {
	lower := ""
	if keep > 0 {
		lower = identity.ChainID(append([]digest.Digest(nil), diffs[:keep]...)).String()
	}
	upper := identity.ChainID(append([]digest.Digest(nil), diffs...)).String()
	var mounts [2][]mount.Mount
	for i, parent := range []string{lower, upper} {
		key := "kiln-squash-" + strings.ToLower(rand.Text())
		if mounts[i], err = s.cfg.Snapshotter.View(ctx, key, parent); err != nil {
			return ocispecs.Descriptor{}, "", fmt.Errorf("look at layers to squash: %w", err)
		}
		defer func() {
			if rerr := s.cfg.Snapshotter.Remove(context.WithoutCancel(ctx), key); rerr != nil && !errdefs.IsNotFound(rerr) {
				err = errors.Join(err, fmt.Errorf("remove view of layers: %w", rerr))
			}
		}()
	}
	desc, err := s.cfg.Comparer.Compare(ctx, mounts[0], mounts[1], diff.WithMediaType(ocispecs.MediaTypeImageLayerGzip),
		diff.WithReference("kiln-squash-"+strings.ToLower(rand.Text())))
	if err != nil {
		return desc, "", fmt.Errorf("squash layers: %w", err)
	}
	diffID, err := images.GetDiffID(ctx, s.cfg.Content, desc)
	if err != nil {
		return desc, "", fmt.Errorf("squash layers: %w", err)
	}
	return desc, diffID, nil
}

// inlineCacheKey is where a configuration carries the build cache, which tells
// of layers that are no more.
const inlineCacheKey = "moby.buildkit.cache.v0"

// squashedConfig is the configuration data with the layers of the base and one
// more. What else is in there stays as it is.
func squashedConfig(data []byte, base []digest.Digest, layer, from digest.Digest) ([]byte, error) {
	var fields map[string]json.RawMessage
	var config ocispecs.Image
	if err := errors.Join(json.Unmarshal(data, &fields), json.Unmarshal(data, &config)); err != nil {
		return nil, invalid("configuration of image %s: %w", from, err)
	}
	delete(fields, inlineCacheKey)
	onto := "scratch"
	if len(base) > 0 {
		onto = identity.ChainID(append([]digest.Digest(nil), base...)).String()
	}
	if history := config.History; len(history) > 0 {
		left := len(base)
		for i := range history {
			switch {
			case history[i].EmptyLayer:
			case left > 0:
				left--
			default:
				history[i].EmptyLayer = true
			}
		}
		config.History = append(history, ocispecs.History{Created: config.Created, Comment: "merge " + from.String() + " to " + onto})
	}
	rootfs := ocispecs.RootFS{Type: "layers", DiffIDs: append(base[:len(base):len(base)], layer)}
	for name, value := range map[string]any{"rootfs": rootfs, "history": config.History} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("render %s of the configuration: %w", name, err)
		}
		fields[name] = raw
	}
	return json.Marshal(fields)
}

// baseLayers is how many layers the configuration of a base image has.
func baseLayers(config []byte) (int, error) {
	if len(config) == 0 {
		return 0, nil
	}
	var base ocispecs.Image
	if err := json.Unmarshal(config, &base); err != nil {
		return 0, invalid("configuration of the base image: %w", err)
	}
	return len(base.RootFS.DiffIDs), nil
}

// boolAttr reads an attribute that is true or false.
func boolAttr(attrs map[string]string, name string) (bool, error) {
	text, ok := attrs[name]
	if !ok || text == "" {
		return ok, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid("non-bool value %q for %s", text, name)
	}
	return v, nil
}
