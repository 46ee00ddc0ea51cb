package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/registry"
)

// Remote tells what a registry has under a name, and for which platforms.
// Nothing of it is kept.
func (s *Store) Remote(ctx context.Context, ref reference.Named, c route.Credentials) (ocispecs.Descriptor, []ocispecs.Platform, error) {
	ref = reference.TagNameOnly(ref)
	repo, err := s.repository(ref, c)
	if err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	root, err := repo.Resolve(ctx)
	if err != nil {
		return root, nil, err
	}
	data, err := fetched(ctx, repo, root, maxManifest)
	if err != nil {
		return root, nil, err
	}
	platforms := []ocispecs.Platform{}
	below, err := children(root, data)
	switch {
	case err != nil:
		return root, nil, err
	case images.IsIndexType(root.MediaType):
		for _, d := range below {
			if d.Platform != nil {
				platforms = append(platforms, *d.Platform)
			}
		}
	case images.IsManifestType(root.MediaType):
		if data, err = fetched(ctx, repo, below[0], maxConfig); err != nil {
			return root, nil, err
		}
		var p ocispecs.Platform
		// What is no configuration of an image has no platform.
		if json.Unmarshal(data, &p) == nil && (p.OS != "" || p.Architecture != "") {
			platforms = append(platforms, p)
		}
	}
	return root, platforms, nil
}

// fetched reads a small blob of a registry and checks its digest.
func fetched(ctx context.Context, repo *registry.Repository, desc ocispecs.Descriptor, limit int64) ([]byte, error) {
	rc, err := repo.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	case int64(len(data)) > limit:
		return nil, invalid("%s has more than %d bytes", desc.Digest, limit)
	case desc.Digest.Algorithm().FromBytes(data) != desc.Digest:
		return nil, fmt.Errorf("content of %s is %s: %w", desc.Digest, digest.FromBytes(data), errdefs.ErrDataLoss)
	}
	return data, nil
}
