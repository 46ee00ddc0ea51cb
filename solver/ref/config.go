package ref

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// Config is what a Store is made of. Fields not called optional are required.
type Config struct {
	// Root is a directory of the Store's own: the database of records and the
	// places where it mounts. It is created with mode 0700. Two Stores must
	// not share one; opening a Root that is in use fails.
	Root string
	// Namespace is the containerd namespace every call is made in.
	Namespace string
	// Snapshotter is namespaced and owned by leases, as containerd's metadata
	// layer offers it, under the name SnapshotterName.
	Snapshotter     snapshots.Snapshotter
	SnapshotterName string
	// Content and Leases belong to the same metadata layer.
	Content content.Store
	Leases  leases.Manager
	// Comparer makes layer blobs, Applier unpacks them.
	Comparer LayerComparer
	Applier  LayerApplier
	// Converter, optional, changes the compression of a blob and keeps its
	// DiffID. Without it a conversion compares again, which may give a layer
	// of another image a new DiffID.
	Converter LayerConverter
	// Layers, optional, is what the snapshotter offers beyond containerd's
	// contract. Without it indexes are kept below Root.
	Layers LayerDirs
	// IndexDir, optional, makes the index of a layer from the directory that
	// Layers.UpperDir tells. Without it, or when it fails, an index that nobody
	// made in passing costs an uncompressed blob.
	IndexDir func(ctx context.Context, upperDir string) (*layerindex.Index, error)
	// Merge, optional, prepares a writable snapshot that stacks spans without
	// copying, under the lease in ctx, which the spans' snapshots outlive.
	// Without it Merge and Diff copy.
	Merge func(ctx context.Context, key string, spans []Span) ([]mount.Mount, error)
	// Rebaser, optional, says which layers of Merge can be laid over any other,
	// and makes of the rest forms that can. Without it they are copied.
	Rebaser LayerRebaser
	// Mount, optional, mounts on an existing directory. The default is
	// mount.All, which fails for very long chains.
	Mount func(mounts []mount.Mount, target string) error
	// LayerOpts, optional, are given to the snapshotter for layers that end in
	// Commit or are thrown away, never for Mutables.
	LayerOpts []snapshots.Opt
	// GC, optional, asks containerd's collector to run now. Without it what
	// was removed is freed whenever the collector runs.
	GC func(ctx context.Context) error
	// Durable, optional, returns when all that the snapshotter, the content
	// store and the lease manager have acknowledged will survive a power loss.
	// With it, records survive the death of the process at once, and a power
	// loss from the next safe point on, before which it is called. Without it
	// they are taken to be durable when they return, and records are synced
	// one by one.
	Durable func(ctx context.Context) error
	// External, optional, says which of the layers are also used by images
	// outside the builder. It is called once for each Usage and Prune.
	External func(ctx context.Context) (func(Info) bool, error)
	// DiskFree, optional, returns the free bytes Prune compares with
	// MinFreeSpace. The default asks the file system of Root.
	DiskFree func() (int64, error)
	// Now and NewID, optional, are the clock and the source of ids. Ids must
	// be unique for all time and made of letters and digits.
	Now   func() time.Time
	NewID func() string
}

// LayerComparer makes layer blobs.
type LayerComparer interface {
	// CompareLayer writes what has to be done to lower to get upper into the
	// content store as a layer blob, under the lease in ctx, and returns its
	// description and, if it was not bypassed, its index. Empty lower mounts
	// are the empty file system. The blob carries no annotations that depend
	// on anything but its bytes.
	CompareLayer(ctx context.Context, lower, upper []mount.Mount, opt CompareOptions) (Layer, *layerindex.Index, error)
}

// CompareOptions say what the blob should look like.
type CompareOptions struct {
	// Compression is Gzip, Zstd, Estargz or Uncompressed.
	Compression string
	// Level of the algorithm; nil is its default.
	Level *int
	// Epoch, if set, is the latest modification time in the layer; later ones
	// are set to it.
	Epoch *time.Time
	// Index asks for the layer's index, which costs more than hashing the blob.
	Index bool
	// Workers bounds the cores that compress; 0 is all.
	Workers int
}

// Values of Compression.
const (
	Gzip         = "gzip"
	Zstd         = "zstd"
	Estargz      = "estargz"
	Uncompressed = "uncompressed"
)

// LayerApplier unpacks layer blobs.
type LayerApplier interface {
	// ApplyLayer unpacks the blob over the mounts of a writable snapshot and
	// returns the digest of the tar and the index of the layer (nil if it was
	// not made). progress may be nil; n counts compressed bytes so far.
	ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, progress func(n int64)) (digest.Digest, *layerindex.Index, error)
}

// LayerConverter changes the compression of layer blobs.
type LayerConverter interface {
	// ConvertLayer writes the tar inside the blob with another compression,
	// under the lease in ctx. The DiffID stays, but for Estargz.
	ConvertLayer(ctx context.Context, desc ocispecs.Descriptor, opt CompareOptions) (Layer, error)
}

// LayerDirs is what a snapshotter that keeps each layer in a directory of its
// own can do beyond containerd's contract; kiln's does. Keys are those of
// Config.Snapshotter in the namespace of ctx.
type LayerDirs interface {
	// UpperDir returns the directory that holds the own files of a snapshot,
	// active or committed, in overlay's format.
	UpperDir(ctx context.Context, key string) (string, error)
	// Index returns the encoded index stored with a snapshot;
	// errdefs.ErrNotFound if there is none.
	Index(ctx context.Context, key string) ([]byte, error)
	// SetIndex stores the encoded index of a snapshot.
	SetIndex(ctx context.Context, key string, data []byte) error
}

// Span is a run of layers: those of the committed snapshot Upper down to, and
// without, those of its ancestor Lower; all if Lower is empty.
type Span struct{ Upper, Lower string }

// LayerProvider brings layers of an image near.
type LayerProvider interface {
	// Fetch brings the blob into the content store, under the lease in ctx.
	// It is called at most once at a time for a layer.
	Fetch(ctx context.Context, desc ocispecs.Descriptor) error
}

// validate reports the first required field that is missing, and fills in the
// optional ones that have defaults.
func (c *Config) validate() error {
	required := []struct {
		name string
		ok   bool
	}{
		{"Root", c.Root != ""},
		{"Namespace", c.Namespace != ""},
		{"Snapshotter", c.Snapshotter != nil && c.SnapshotterName != ""},
		{"Content", c.Content != nil},
		{"Leases", c.Leases != nil},
		{"Comparer", c.Comparer != nil},
		{"Applier", c.Applier != nil},
	}
	for _, r := range required {
		if !r.ok {
			return fmt.Errorf("ref store: %s is not configured: %w", r.name, errMisconfigured)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = newID
	}
	if c.Mount == nil {
		c.Mount = func(mounts []mount.Mount, target string) error { return mount.All(mounts, target) }
	}
	if c.DiskFree == nil {
		root := c.Root
		c.DiskFree = func() (int64, error) { return diskFree(root) }
	}
	return nil
}

var errMisconfigured = errors.New("incomplete configuration")

// newID returns 25 random letters and digits, the shape clients are used to.
func newID() string {
	return rand.Text()[:25]
}
