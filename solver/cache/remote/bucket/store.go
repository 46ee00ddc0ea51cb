package bucket

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/ref"
)

// Store is an object store. Objects that are not there are errdefs NotFound.
type Store interface {
	// Stat returns when an object was written or touched.
	Stat(ctx context.Context, key string) (time.Time, error)
	// Touch makes an object look newly written.
	Touch(ctx context.Context, key string) error
	// Put writes an object in place of what was there.
	Put(ctx context.Context, key string, data *io.SectionReader) error
	// Get reads an object; the caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
}

// Place says where in a Store a cache is.
type Place struct {
	Store Store
	// Name is for people.
	Name string
	// Blob returns the key of a blob.
	Blob func(digest.Digest) string
	// Manifests are the keys of the config, of which the first is read.
	Manifests []string
	// Refresh is the age from which blobs in use are touched.
	Refresh time.Duration
	// Parallel is how many blobs are written at once.
	Parallel int
	// Layers says how blobs are compressed.
	Layers ref.LayerOptions
	// Now tells the time.
	Now func() time.Time
}
