package s3

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/cache/remote/artifact"
	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
)

// Backend is the cache type "s3".
type Backend struct{}

var _ remote.Backend = Backend{}

// place is where the cache of attributes is.
func place(ctx context.Context, attrs map[string]string) (bucket.Place, error) {
	c, err := parse(attrs)
	if err != nil {
		return bucket.Place{}, err
	}
	layers, err := artifact.ParseLayers(attrs)
	if err != nil {
		return bucket.Place{}, err
	}
	s, err := open(ctx, c)
	if err != nil {
		return bucket.Place{}, err
	}
	p := bucket.Place{
		Store: s, Name: "bucket " + c.bucket, Refresh: c.refresh, Parallel: c.parallel, Layers: layers, Now: time.Now,
		Blob: func(d digest.Digest) string { return c.prefix + c.blobs + d.String() },
	}
	for _, name := range c.names {
		p.Manifests = append(p.Manifests, c.prefix+c.manifests+name)
	}
	return p, nil
}

// Exporter implements remote.Backend.
func (Backend) Exporter(ctx context.Context, attrs map[string]string, _ solver.Env) (remote.Exporter, error) {
	p, err := place(ctx, attrs)
	if err != nil {
		return nil, err
	}
	return &bucket.Exporter{Place: p, Title: "exporting cache to Amazon S3"}, nil
}

// Importer implements remote.Backend.
func (Backend) Importer(ctx context.Context, attrs map[string]string, _ solver.Env) (remote.Importer, error) {
	p, err := place(ctx, attrs)
	if err != nil {
		return nil, err
	}
	return &bucket.Importer{Place: p}, nil
}
