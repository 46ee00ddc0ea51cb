package remote

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

// TypeInline is the name of the cache that travels in the configuration of an
// image. It has no Backend: exporters write it, see Graph.Inline, and it is
// imported from wherever the image is.
const TypeInline = "inline"

// ValueManifest is the name of the response value with the descriptor (JSON) of
// what an exporter wrote.
const ValueManifest = "cache.manifest"

// Backend is one kind of place for caches, by its wire name.
type Backend interface {
	// Exporter checks the attributes of a cache to write. Errors name the
	// attribute.
	Exporter(ctx context.Context, attrs map[string]string, env solver.Env) (Exporter, error)
	// Importer checks the attributes of a cache to read.
	Importer(ctx context.Context, attrs map[string]string, env solver.Env) (Importer, error)
}

// Exporter writes one cache.
type Exporter interface {
	// Name is shown as the vertex, for example "exporting cache to registry".
	Name() string
	// Layers says how blobs made for the cache are compressed.
	Layers() ref.LayerOptions
	// Export writes a bundle with at least one layer. blobs reads all of them;
	// what is elsewhere is fetched when it is read. Progress goes to env. It
	// returns response values by name.
	Export(ctx context.Context, b *Bundle, blobs content.Provider, env solver.Env) (map[string]string, error)
}

// Importer reads one cache.
type Importer interface {
	// Import returns its tables: several if it is an image for several
	// platforms. Layers are not read. Progress goes to env.
	Import(ctx context.Context, env solver.Env) ([]*Table, error)
}
