package bucket

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Importer reads a cache from a Place.
type Importer struct{ Place }

var (
	_ remote.Importer = (*Importer)(nil)
	_ remote.Blobs    = (*Importer)(nil)
	_ remote.Prober   = (*Importer)(nil)
)

// Import implements remote.Importer. A cache that was never written is empty.
func (i *Importer) Import(ctx context.Context, _ solver.Env) ([]*remote.Table, error) {
	rc, err := i.Store.Get(ctx, i.Manifests[0])
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", i.Manifests[0], err)
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, remote.MaxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", i.Manifests[0], err)
	}
	config, err := remote.ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.Manifests[0], err)
	}
	layers := map[digest.Digest]ref.Layer{}
	for _, l := range config.Layers {
		if layer, ok := described(l); ok {
			layers[l.Blob] = layer
		}
	}
	return []*remote.Table{remote.NewTable(config, layers, &remote.Origin{Blobs: i, Name: i.Name})}, nil
}

// described is what a config says of a blob; false if it does not say enough to
// make a file system of it.
func described(l remote.Layer) (ref.Layer, bool) {
	if l.About == nil || l.About.DiffID.Validate() != nil || l.About.Size < 0 {
		return ref.Layer{}, false
	}
	out := ref.Layer{DiffID: l.About.DiffID, Descriptor: ocispecs.Descriptor{
		MediaType: l.About.MediaType, Digest: l.Blob, Size: l.About.Size,
	}}
	if !l.About.CreatedAt.IsZero() {
		out.CreatedAt = &l.About.CreatedAt
	}
	return out, true
}

// Fetch implements remote.Blobs.
func (i *Importer) Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	rc, err := i.Store.Get(ctx, i.Blob(desc.Digest))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return rc, nil
}

// Has implements remote.Prober.
func (i *Importer) Has(ctx context.Context, desc ocispecs.Descriptor) (bool, error) {
	_, err := i.Store.Stat(ctx, i.Blob(desc.Digest))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
