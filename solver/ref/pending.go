package ref

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

var _ = bolt.Open

const maxCompares = 2

type indexCache struct{}

func newIndexCache() *indexCache { return &indexCache{} }

func (*indexCache) forget(string) {}

type digestCache struct{}

func newDigestCache() *digestCache { return &digestCache{} }

type flightGroup struct{}

func (s *Store) removeIndexFile(lease string) {}

func (s *Store) putIndex(ctx context.Context, e *entry, idx *layerindex.Index) {}

// Layer is one layer of an image: what it was packed into, and what is inside.
type Layer struct {
	// Descriptor of the blob, with annotations.
	Descriptor ocispecs.Descriptor
	// DiffID is the digest of the uncompressed tar.
	DiffID digest.Digest
	// CreatedAt and Description tell when and how it was made; may be empty.
	CreatedAt   *time.Time
	Description string
}

// LayerOptions say what blobs Layers should return.
type LayerOptions struct {
	// Compression of blobs made here: Gzip (also for ""), Zstd or Uncompressed.
	Compression string
	// Level of the algorithm; nil is its default.
	Level *int
	// Force converts layers that came with an image too, if they have another
	// compression.
	Force bool
	// Epoch, if set, bounds modification times in layers made here.
	Epoch *time.Time
}

// ContentOptions say what ContentDigest takes in.
type ContentOptions struct {
	// FollowLinks resolves a symbolic link at the end of the path.
	FollowLinks bool
	// Wildcard gives *, ?, [ and \ in the path their meaning in path.Match.
	Wildcard bool
	// Include and Exclude are patterns in the syntax of .dockerignore,
	// relative to the path.
	Include, Exclude []string
	// Required are absolute paths of which each must be the beginning of a
	// path taken in.
	Required []string
}

// Usage describes a ref for listings.
type Usage struct {
	ID      string
	Mutable bool
	InUse   bool
	// Size in bytes of the own layer's files and blobs.
	Size       int64
	CreatedAt  time.Time
	LastUsedAt *time.Time
	UsageCount int64
	// Description is free text, RecordType one of the Type constants.
	Description, RecordType string
	// Shared refs are also used by images outside the builder.
	Shared  bool
	Parents []string
}

// PruneOptions say what Prune may remove. Sizes are bytes, zero is no limit.
type PruneOptions struct {
	// All includes internal, frontend and shared refs.
	All bool
	// Filters are alternatives in containerd's filter syntax.
	Filters []string
	// KeepDuration spares what was used more recently.
	KeepDuration time.Duration
	// ReservedSpace is never gone below; MaxUsedSpace is what may be used at
	// most; MinFreeSpace is what should be free on the disk.
	ReservedSpace, MaxUsedSpace, MinFreeSpace int64
}

func (s *Store) FromLayers(ctx context.Context, layers []Layer, p LayerProvider, env solver.Env, opts ...Option) (*Ref, error) {
	return nil, errdefs.ErrNotImplemented
}

func (s *Store) Merge(ctx context.Context, refs []*Ref, opts ...Option) (*Ref, error) {
	return nil, errdefs.ErrNotImplemented
}

func (s *Store) Diff(ctx context.Context, lower, upper *Ref, opts ...Option) (*Ref, error) {
	return nil, errdefs.ErrNotImplemented
}

func (s *Store) Mutable(ctx context.Context, key string, parent *Ref, opts ...Option) (*Active, error) {
	return nil, errdefs.ErrNotImplemented
}

func (s *Store) LockMutable(key string) (unlock func(), ok bool) { return nil, false }

func (r *Ref) Layers(ctx context.Context, opt LayerOptions, env solver.Env) ([]Layer, error) {
	return nil, errdefs.ErrNotImplemented
}

func (r *Ref) ContentDigest(ctx context.Context, path string, opt ContentOptions) (digest.Digest, error) {
	return "", errdefs.ErrNotImplemented
}

func (r *Ref) Stat(ctx context.Context, path string) (*fsutil.Stat, error) {
	return nil, errdefs.ErrNotImplemented
}

func (r *Ref) ReadFile(ctx context.Context, path string, offset, length int64) ([]byte, error) {
	return nil, errdefs.ErrNotImplemented
}

func (r *Ref) ReadDir(ctx context.Context, path, pattern string) ([]*fsutil.Stat, error) {
	return nil, errdefs.ErrNotImplemented
}

func (r *Ref) Index(ctx context.Context) (*layerindex.Index, error) {
	return nil, errdefs.ErrNotImplemented
}

func (s *Store) Usage(ctx context.Context, filters []string) ([]Usage, error) {
	return nil, errdefs.ErrNotImplemented
}

func (s *Store) Prune(ctx context.Context, opt PruneOptions, emit func(Usage)) error {
	return errdefs.ErrNotImplemented
}

func (s *Store) Sweep(ctx context.Context) (int, error) { return 0, errdefs.ErrNotImplemented }
