package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Exporter writes a cache to a Place.
type Exporter struct {
	Place
	// Title is shown as the vertex.
	Title string
}

var _ remote.Exporter = (*Exporter)(nil)

// Name implements remote.Exporter.
func (e *Exporter) Name() string { return e.Title }

// Layers implements remote.Exporter.
func (e *Exporter) Layers() ref.LayerOptions { return e.Place.Layers }

// Export implements remote.Exporter.
func (e *Exporter) Export(ctx context.Context, b *remote.Bundle, blobs content.Provider, env solver.Env) (map[string]string, error) {
	about := map[digest.Digest]*remote.LayerInfo{}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(max(e.Parallel, 1))
	for _, blob := range b.Blobs {
		info, err := describe(blob)
		if err != nil {
			return nil, err
		}
		about[blob.Descriptor.Digest] = info
		group.Go(func() error { return e.blob(gctx, blob, blobs, env) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	config := remote.Config{Records: b.Config.Records}
	for _, l := range b.Config.Layers {
		l.About = about[l.Blob]
		config.Layers = append(config.Layers, l)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode cache config: %w", err)
	}
	for _, key := range e.Manifests {
		if err := e.Store.Put(ctx, key, section(data)); err != nil {
			return nil, fmt.Errorf("error writing manifest: %s: %w", key, err)
		}
	}
	return nil, nil
}

func section(data []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
}

// blob writes one blob, unless it is there.
func (e *Exporter) blob(ctx context.Context, b remote.Blob, blobs content.Provider, env solver.Env) error {
	d := b.Descriptor.Digest
	key := e.Blob(d)
	written, err := e.Store.Stat(ctx, key)
	switch {
	case err == nil && e.Now().Sub(written) <= e.Refresh:
		return nil
	case err == nil:
		if err := e.Store.Touch(ctx, key); err != nil {
			return fmt.Errorf("failed to touch file: %w", err)
		}
		return nil
	case !errdefs.IsNotFound(err):
		return fmt.Errorf("failed to check file presence in cache: %w", err)
	}
	defer progress.Status(env, "writing layer "+d.String(), "").Done()
	ra, err := blobs.ReaderAt(ctx, b.Descriptor)
	if err != nil {
		return fmt.Errorf("error reading layer blob from provider: %w", err)
	}
	defer ra.Close()
	if err := e.Store.Put(ctx, key, io.NewSectionReader(ra, 0, ra.Size())); err != nil {
		return fmt.Errorf("error writing layer blob: %w", err)
	}
	return nil
}

// describe is what the config says of a blob.
func describe(b remote.Blob) (*remote.LayerInfo, error) {
	mediaType, err := manifest.LayerType(b.Descriptor.MediaType, true)
	if err != nil {
		return nil, err
	}
	info := &remote.LayerInfo{MediaType: mediaType, DiffID: b.DiffID, Size: b.Descriptor.Size}
	if b.CreatedAt != nil {
		info.CreatedAt = b.CreatedAt.UTC()
	}
	return info, nil
}
