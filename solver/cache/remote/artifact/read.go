package artifact

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Bounds of what is read.
const (
	maxManifest = 1 << 20
	// maxImages is how many images of an index are looked into, maxDepth how
	// deep indexes may be nested.
	maxImages = 64
	maxDepth  = 3
)

// Read returns the tables of the cache behind a root. Its media type is taken
// from the document.
func Read(ctx context.Context, root ocispecs.Descriptor, from *remote.Origin, env solver.Env) ([]*remote.Table, error) {
	data, err := fetch(ctx, from, root, maxManifest)
	if err != nil {
		return nil, err
	}
	var doc manifestDocument
	if err := doc.parse(data); err != nil {
		return nil, fmt.Errorf("cache manifest %s: %w", root.Digest, err)
	}
	progress.Status(env, "inferred cache manifest type: "+doc.MediaType, "").Done()
	config, layers := doc.cache()
	if config == nil {
		r := &imageReader{from: from}
		return r.tables, r.read(ctx, doc, 0)
	}
	data, err = fetch(ctx, from, *config, remote.MaxConfig)
	if err != nil {
		return nil, err
	}
	c, err := remote.ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config.Digest, err)
	}
	known := map[digest.Digest]ref.Layer{}
	for _, desc := range layers {
		if l, ok := remote.DescribedLayer(desc); ok {
			known[desc.Digest] = l
		}
	}
	return []*remote.Table{remote.NewTable(c, known, from)}, nil
}

// fetch reads and verifies a small blob.
func fetch(ctx context.Context, from *remote.Origin, desc ocispecs.Descriptor, limit int64) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("blob %.100q: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	if desc.Size > limit {
		return nil, fmt.Errorf("blob %s is too large (%d > %d): %w", desc.Digest, desc.Size, limit, errdefs.ErrInvalidArgument)
	}
	rc, err := from.Fetch(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	if int64(len(data)) > limit || desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		return nil, fmt.Errorf("blob %s: content is not what its digest says: %w", desc.Digest, errdefs.ErrFailedPrecondition)
	}
	return data, nil
}

// manifestDocument is a manifest or an index, whichever it turns out to be.
type manifestDocument struct {
	MediaType string                `json:"mediaType"`
	Config    *ocispecs.Descriptor  `json:"config"`
	Layers    []ocispecs.Descriptor `json:"layers"`
	Manifests []ocispecs.Descriptor `json:"manifests"`
}

// parse reads the document. One that is both a manifest and an index is
// refused: readers would disagree about it.
func (d *manifestDocument) parse(data []byte) error {
	if err := json.Unmarshal(data, d); err != nil {
		return fmt.Errorf("decode: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if d.Manifests != nil && (d.Layers != nil || d.Config != nil) {
		return fmt.Errorf("it is both a manifest and an index: %w", errdefs.ErrInvalidArgument)
	}
	if d.MediaType == "" {
		d.MediaType = ocispecs.MediaTypeImageManifest
		if d.Manifests != nil {
			d.MediaType = ocispecs.MediaTypeImageIndex
		}
	}
	if !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) {
		return fmt.Errorf("media type %.100q is none of a cache: %w", d.MediaType, errdefs.ErrInvalidArgument)
	}
	return nil
}

// cache returns the config of a cache and its layers; nil if this is an image.
func (d *manifestDocument) cache() (*ocispecs.Descriptor, []ocispecs.Descriptor) {
	if d.Config != nil && d.Config.MediaType == remote.MediaTypeConfig {
		return d.Config, d.Layers
	}
	var config *ocispecs.Descriptor
	var layers []ocispecs.Descriptor
	for _, m := range d.Manifests {
		if m.MediaType == remote.MediaTypeConfig {
			config = &m
		} else {
			layers = append(layers, m)
		}
	}
	return config, layers
}

// imageReader reads the caches that images carry.
type imageReader struct {
	from   *remote.Origin
	tables []*remote.Table
	images int
}

// read looks into an image, or all images of an index. Those without a cache,
// attestations among them, have nothing to add.
func (r *imageReader) read(ctx context.Context, doc manifestDocument, depth int) error {
	if images.IsManifestType(doc.MediaType) {
		return r.image(ctx, doc)
	}
	if depth >= maxDepth {
		return fmt.Errorf("indexes are nested more than %d deep: %w", maxDepth, errdefs.ErrInvalidArgument)
	}
	for _, m := range doc.Manifests {
		if !images.IsManifestType(m.MediaType) && !images.IsIndexType(m.MediaType) {
			continue
		}
		if r.images++; r.images > maxImages {
			return nil
		}
		data, err := fetch(ctx, r.from, m, maxManifest)
		if err != nil {
			return err
		}
		var below manifestDocument
		if err := below.parse(data); err != nil {
			return fmt.Errorf("image %s: %w", m.Digest, err)
		}
		if err := r.read(ctx, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// image reads the records of one image.
func (r *imageReader) image(ctx context.Context, doc manifestDocument) error {
	if doc.Config == nil || len(doc.Layers) == 0 {
		return nil
	}
	data, err := fetch(ctx, r.from, *doc.Config, remote.MaxConfig)
	if err != nil {
		return err
	}
	var config imageConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("image config %s: %w: %w", doc.Config.Digest, err, errdefs.ErrInvalidArgument)
	}
	if len(config.Cache) == 0 || len(config.RootFS.DiffIDs) != len(doc.Layers) {
		return nil
	}
	known := map[digest.Digest]ref.Layer{}
	var chain []remote.Layer
	steps := config.steps()
	for i, desc := range doc.Layers {
		l := ref.Layer{DiffID: config.RootFS.DiffIDs[i], Descriptor: ocispecs.Descriptor{
			MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size,
		}}
		if i < len(steps) {
			l.CreatedAt, l.Description = steps[i].Created, steps[i].CreatedBy
		}
		known[desc.Digest] = l
		chain = append(chain, remote.Layer{Blob: desc.Digest, Parent: i - 1})
	}
	c, err := remote.ParseRecords(config.Cache, chain)
	if err != nil {
		return fmt.Errorf("image config %s: %w", doc.Config.Digest, err)
	}
	r.tables = append(r.tables, remote.NewTable(c, known, r.from))
	return nil
}

// imageConfig is what matters here of an image's configuration.
type imageConfig struct {
	RootFS  ocispecs.RootFS    `json:"rootfs"`
	Cache   []byte             `json:"moby.buildkit.cache.v0"`
	History []ocispecs.History `json:"history"`
}

// steps is the history of the layers.
func (c *imageConfig) steps() []ocispecs.History {
	var out []ocispecs.History
	for _, h := range c.History {
		if !h.EmptyLayer {
			out = append(out, h)
		}
	}
	return out
}
