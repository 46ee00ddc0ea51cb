package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
)

// Config is what an Exporter is made of. Fields not called optional are
// required.
type Config struct {
	// Namespace is the containerd namespace images are made in.
	Namespace string
	// Content and Leases belong to the same metadata layer.
	Content content.Store
	Leases  leases.Manager
	// Images, optional, is the image store. Without it images are not named.
	Images images.Store
	// Snapshotter is where images are unpacked, under the name
	// SnapshotterName, by Applier. Optional together: without them "unpack"
	// is refused.
	Snapshotter     snapshots.Snapshotter
	SnapshotterName string
	Applier         diff.Applier
	// UpperDir, optional, returns the directory with the own files of a
	// snapshot, active or committed, in overlay's format.
	UpperDir func(ctx context.Context, key string) (string, error)
	// Creator, optional, is told by bills of materials in the words of SPDX,
	// for example "Tool: kiln-1.0".
	Creator string
	// Registry, optional, reaches registries. Without it "push" is refused.
	Registry *registry.Client
	// Linked says that the content store keeps uncompressed layers as links to
	// the files of snapshots, and that nobody else pushes from it.
	Linked bool
	// Durable, optional, returns when all that the stores have acknowledged
	// will survive a power loss. It is called before an export is reported to
	// be done, unless the export changed nothing since it was called.
	Durable func(ctx context.Context) error
}

// Exporter makes images. Use New.
type Exporter struct {
	cfg     Config
	settled settled
}

var _ export.Exporter = (*Exporter)(nil)

// New returns an Exporter for the type "image".
func New(cfg Config) *Exporter { return &Exporter{cfg: cfg} }

// settings are the attributes of this exporter alone.
type settings struct {
	push, pushByDigest, insecure bool
	unpack, store                bool
	// canonical adds a name with the digest to each name.
	canonical bool
	// danglingPrefix begins a name made of the digest; danglingEmptyOnly gives
	// it to images without other names only.
	danglingPrefix    string
	danglingEmptyOnly bool
}

// Resolve implements export.Exporter.
func (e *Exporter) Resolve(_ context.Context, attrs map[string]string) (export.Instance, error) {
	opts, rest, err := manifest.ParseOptions(attrs, true)
	opts.Exporter = "image"
	if err != nil {
		return nil, err
	}
	in := &instance{exporter: e, opts: opts, settings: settings{store: true}, metadata: map[string]string{}}
	for k, v := range rest {
		if err := in.set(k, v); err != nil {
			return nil, err
		}
	}
	// Such a store needs nothing smaller: layers stay as they are, and cost one
	// hash. Whoever pushes or asks for a compression gets it.
	if e.cfg.Linked && !in.push && !asksCompression(attrs) {
		in.opts.Layers.Compression = ref.Uncompressed
	}
	return in, in.check()
}

// asksCompression tells whether attributes say how layers are to be stored.
func asksCompression(attrs map[string]string) bool {
	for _, k := range []string{"compression", "compression-level", "force-compression"} {
		if _, ok := attrs[k]; ok {
			return true
		}
	}
	return false
}

// set stores one attribute; those it does not know become metadata.
func (in *instance) set(k, v string) (err error) {
	bools := map[string]*bool{
		"push":              &in.push,
		"push-by-digest":    &in.pushByDigest,
		"registry.insecure": &in.insecure,
		"unpack":            &in.unpack,
		"store":             &in.store,
		"name-canonical":    &in.canonical,
		// The missing letter is how clients spell it.
		"danging-name-empty-only": &in.danglingEmptyOnly,
		// Images are always complete here.
		"unsafe-internal-store-allow-incomplete": new(bool),
	}
	to, known := bools[k]
	switch {
	case known:
		*to, err = export.Bool(k, v)
	case k == "dangling-name-prefix":
		in.danglingPrefix = v
	default:
		in.metadata[k] = v
	}
	return err
}

// check refuses what would fail after the build anyway.
func (in *instance) check() error {
	cfg := &in.exporter.cfg
	switch {
	case in.unpack && in.opts.Rewrite:
		// The snapshot has the times that the layers do not have any more.
		return fmt.Errorf("exporter option \"rewrite-timestamp\" conflicts with \"unpack\": %w", errdefs.ErrInvalidArgument)
	case in.unpack && (cfg.Snapshotter == nil || cfg.Applier == nil):
		return fmt.Errorf("exporter option \"unpack\" needs a snapshotter, which this builder has not: %w", errdefs.ErrFailedPrecondition)
	case in.push && cfg.Registry == nil:
		return fmt.Errorf("exporter option \"push\" needs access to registries, which this builder has not: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}
