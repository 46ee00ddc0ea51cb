package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxManifest and maxConfig bound documents, in bytes.
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	// maxDepth bounds indexes in indexes, maxDocuments the manifests of one
	// image.
	maxDepth     = 3
	maxDocuments = 512
)

// document reads a small blob.
func (s *Store) document(ctx context.Context, desc ocispecs.Descriptor, limit int64) ([]byte, error) {
	ra, err := s.cfg.Content.ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	if ra.Size() > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, more than the limit of %d: %w", desc.Digest, ra.Size(), limit, errdefs.ErrInvalidArgument)
	}
	data, err := io.ReadAll(content.NewReader(ra))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return data, nil
}

// decode reads a small blob of JSON.
func (s *Store) decode(ctx context.Context, desc ocispecs.Descriptor, limit int64, to any) error {
	data, err := s.document(ctx, desc, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("decode blob %s: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// children are what a document names: the manifests of an index, or the
// configuration and layers of a manifest; nothing for anything else.
func children(desc ocispecs.Descriptor, data []byte) ([]ocispecs.Descriptor, error) {
	var out []ocispecs.Descriptor
	switch {
	case images.IsIndexType(desc.MediaType):
		var index ocispecs.Index
		if err := json.Unmarshal(data, &index); err != nil {
			return nil, fmt.Errorf("decode index %s: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
		}
		out = index.Manifests
	case images.IsManifestType(desc.MediaType):
		var m ocispecs.Manifest
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("decode manifest %s: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
		}
		out = append([]ocispecs.Descriptor{m.Config}, m.Layers...)
	}
	for _, d := range out {
		if err := d.Digest.Validate(); err != nil || d.Size < 0 {
			return nil, fmt.Errorf("document %s names the blob %q of %d bytes, which cannot be: %w", desc.Digest, d.Digest, d.Size, errdefs.ErrInvalidArgument)
		}
	}
	return out, nil
}

// isDocument tells whether a blob names others.
func isDocument(desc ocispecs.Descriptor) bool {
	return images.IsIndexType(desc.MediaType) || images.IsManifestType(desc.MediaType)
}

// walk calls visit for what an image consists of and is here, parents before
// children, each blob once. absent, optional, is called for what is not here.
func (s *Store) walk(ctx context.Context, root ocispecs.Descriptor, visit, absent func(ocispecs.Descriptor) error) error {
	seen := map[string]bool{}
	var step func(d ocispecs.Descriptor, depth int) error
	step = func(d ocispecs.Descriptor, depth int) error {
		if seen[d.Digest.String()] {
			return nil
		}
		seen[d.Digest.String()] = true
		if _, err := s.cfg.Content.Info(ctx, d.Digest); err != nil {
			if errdefs.IsNotFound(err) {
				if absent != nil {
					return absent(d)
				}
				return nil
			}
			return fmt.Errorf("look up blob %s: %w", d.Digest, err)
		}
		if err := visit(d); err != nil || !isDocument(d) {
			return err
		}
		if depth > maxDepth {
			return fmt.Errorf("image %s has indexes more than %d deep: %w", root.Digest, maxDepth, errdefs.ErrInvalidArgument)
		}
		data, err := s.document(ctx, d, maxManifest)
		if err != nil {
			return err
		}
		below, err := children(d, data)
		if err != nil {
			return err
		}
		for _, c := range below {
			if err := step(c, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return step(root, 0)
}
