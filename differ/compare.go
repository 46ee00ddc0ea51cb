package differ

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/kilnbuild/kiln/differ/compress"
	differdiff "github.com/kilnbuild/kiln/differ/diff"
	"github.com/kilnbuild/kiln/differ/internal/behind"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/differ/stargz"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IngestPrefix starts the names of blobs that are being written. Nobody goes
// on with one that was broken off.
const IngestPrefix = "kiln-layer-"

// Layer is the result of a comparison.
type Layer struct {
	// Descriptor names the stored blob. It has no annotations but those that
	// belong to the format, see CompareOptions.Estargz.
	Descriptor ocispec.Descriptor
	// DiffID is the digest of the uncompressed tar. An eStargz layer's includes
	// the table of contents.
	DiffID digest.Digest
	// Linked says that the blob shares most of its bytes with the layer's files.
	Linked bool
	// Index describes the layer's files; nil with CompareOptions.NoIndex.
	Index *layerindex.Index
}

// CompareOptions tune CompareLayer. The zero value makes an OCI gzip layer.
type CompareOptions struct {
	// MediaType is the format of the blob; empty means OCI tar+gzip.
	MediaType string
	// Level is the compression level; nil means that of the Config.
	Level *int
	// Estargz makes a gzip layer that can be read file by file.
	Estargz bool
	// Workers bounds the cores that compress; 0 is all. It changes no byte.
	Workers int
	// NoIndex saves what an index costs: each byte is hashed twice more.
	NoIndex bool
	// Diff carries containerd's options; a media type in it counts if MediaType
	// is empty.
	Diff []diff.Opt
}

// Compare implements diff.Comparer: it stores the difference of the mounts and
// returns the blob's descriptor. See CompareLayer.
func (d *Differ) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispec.Descriptor, error) {
	layer, err := d.CompareLayer(ctx, lower, upper, CompareOptions{Diff: opts, NoIndex: true})
	return layer.Descriptor, err
}

// CompareLayer stores the difference of the mounts as a blob with the label
// containerd.io/uncompressed and returns all that was learnt on the way. No
// mounts are an empty tree. A media type that cannot be written is
// errdefs.ErrNotImplemented, a custom compressor without media type
// errdefs.ErrInvalidArgument.
func (d *Differ) CompareLayer(ctx context.Context, lower, upper []mount.Mount, opts CompareOptions) (Layer, error) {
	job, err := d.newComparison(ctx, opts)
	if err != nil {
		return Layer{}, err
	}
	if pair, ok := layeredPair(lower, upper); ok {
		layer, err := job.storePair(ctx, pair)
		if !errors.Is(err, overlay.ErrNeedsMount) {
			return layer, err
		}
		log.G(ctx).WithField("dir", pair.Upper).Debug("layer needs a mount to be compared")
	}
	return job.storeMounted(ctx, lower, upper)
}

// comparison is one call of CompareLayer with its options resolved.
type comparison struct {
	differ    *Differ
	config    diff.Config
	algorithm compress.Algorithm
	level     *int
	noIndex   bool
	estargz   bool
	workers   int
}

// newComparison checks the options.
func (d *Differ) newComparison(ctx context.Context, opts CompareOptions) (*comparison, error) {
	c := &comparison{differ: d, level: opts.Level, noIndex: opts.NoIndex, estargz: opts.Estargz, workers: opts.Workers}
	for _, o := range opts.Diff {
		if err := o(&c.config); err != nil {
			return nil, fmt.Errorf("apply diff option: %w", err)
		}
	}
	if opts.MediaType != "" {
		c.config.MediaType = opts.MediaType
	}
	if c.config.SourceDateEpoch == nil {
		c.config.SourceDateEpoch = epoch.FromContext(ctx)
	}
	if c.config.Compressor != nil && !c.estargz {
		if c.config.MediaType == "" {
			return nil, fmt.Errorf("a custom compressor needs a media type: %w", errdefs.ErrInvalidArgument)
		}
		return c, nil
	}
	if c.config.MediaType == "" {
		c.config.MediaType = ocispec.MediaTypeImageLayerGzip
	}
	var err error
	if c.algorithm, err = algorithmOf(c.config.MediaType); err != nil {
		return nil, err
	}
	if c.estargz {
		c.config.Compressor = nil
		if c.algorithm != compress.Gzip {
			return nil, fmt.Errorf("estargz layer of media type %q: %w", c.config.MediaType, errdefs.ErrInvalidArgument)
		}
	}
	if c.level == nil {
		switch c.algorithm {
		case compress.Gzip:
			c.level = d.config.GzipLevel
		case compress.Zstd:
			c.level = d.config.ZstdLevel
		}
	}
	return c, nil
}

// storeMounted compares through temporary mounts.
func (c *comparison) storeMounted(ctx context.Context, lower, upper []mount.Mount) (Layer, error) {
	var layer Layer
	err := withMount(ctx, c.differ.config.Mounts, lower, true, func(lowerRoot string) error {
		return withMount(ctx, c.differ.config.Mounts, upper, true, func(upperRoot string) error {
			pair := differdiff.Pair{Upper: upperRoot}
			if lowerRoot != "" {
				pair.Lower = []string{lowerRoot}
			}
			if upperRoot == "" {
				// Nothing is what it came to: everything below was deleted.
				empty, err := os.MkdirTemp("", "kiln-empty-")
				if err != nil {
					return fmt.Errorf("make empty directory: %w", err)
				}
				defer func() { _ = os.Remove(empty) }()
				pair.Upper = empty
			}
			var err error
			layer, err = c.storePair(ctx, pair)
			return err
		})
	})
	return layer, err
}

// storePair writes the layer of a pair into the content store.
func (c *comparison) storePair(ctx context.Context, pair differdiff.Pair) (Layer, error) {
	if c.linkable(pair) {
		return c.storeLinked(ctx, pair)
	}
	return c.store(ctx, func(ctx context.Context, cw content.Writer) (Layer, error) { return c.write(ctx, cw, pair) })
}

// store makes a blob of what fill writes. On any error the upload is dropped,
// unless the caller named it and may want to look at it.
func (c *comparison) store(ctx context.Context, fill func(context.Context, content.Writer) (Layer, error)) (_ Layer, err error) {
	ref := c.config.Reference
	if ref == "" {
		ref = IngestPrefix + rand.Text()
	}
	cw, err := content.OpenWriter(ctx, c.differ.store,
		content.WithRef(ref),
		content.WithDescriptor(ocispec.Descriptor{MediaType: c.config.MediaType}))
	if err != nil {
		return Layer{}, fmt.Errorf("open blob writer: %w", err)
	}
	defer func() {
		cw.Close()
		if err == nil || c.config.Reference != "" {
			return
		}
		if abortErr := c.differ.store.Abort(context.WithoutCancel(ctx), ref); abortErr != nil && !errdefs.IsNotFound(abortErr) {
			log.G(ctx).WithError(abortErr).WithField("ref", ref).Warn("cannot drop the upload of a failed comparison")
		}
	}()
	if c.config.Reference != "" {
		// A named upload may hold the bytes of an attempt that was interrupted.
		if err := cw.Truncate(0); err != nil {
			return Layer{}, fmt.Errorf("restart blob: %w", err)
		}
	}
	layer, err := fill(ctx, cw)
	if err != nil {
		return Layer{}, err
	}
	return layer, c.commit(ctx, cw, &layer)
}

// write sends the tar through hash and compressor in one pass.
func (c *comparison) write(ctx context.Context, cw content.Writer, pair differdiff.Pair) (Layer, error) {
	compressor, err := c.compressor(cw)
	if err != nil {
		return Layer{}, fmt.Errorf("start compression: %w", err)
	}
	// Reading and hashing files is one core's work, what comes after the tar
	// another's. The content store hashes what it stores: for a plain tar that
	// is the diff id.
	var sum hash.Hash
	sink := io.Writer(compressor)
	if c.config.Compressor != nil || c.algorithm != compress.Uncompressed {
		sum = sha256.New()
		sink = io.MultiWriter(sum, compressor)
	}
	tar := behind.New(sink)
	index, err := differdiff.Write(ctx, tar, pair, differdiff.Options{
		Epoch:      c.config.SourceDateEpoch,
		UserXattrs: c.differ.config.UserXattrs,
		NoIndex:    c.noIndex,
	})
	if closeErr := tar.Close(); err == nil {
		err = closeErr
	}
	// The compressor is closed even after an error, it may own goroutines.
	if closeErr := compressor.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("finish compression: %w", closeErr)
	}
	if err != nil {
		return Layer{}, err
	}
	layer := Layer{Index: index}
	if sum == nil {
		layer.DiffID = cw.Digest()
	} else {
		layer.DiffID = digest.NewDigest(digest.SHA256, sum)
	}
	annotate(&layer, compressor)
	return layer, nil
}

// annotate adds what only the compressor knows.
func annotate(layer *Layer, compressor io.WriteCloser) {
	if w, ok := compressor.(*stargz.Writer); ok {
		result := w.Result()
		layer.DiffID, layer.Descriptor.Annotations = result.DiffID, result.Annotations()
	}
}

// compressor returns the caller's or kiln's own.
func (c *comparison) compressor(w io.Writer) (io.WriteCloser, error) {
	if c.config.Compressor != nil {
		return c.config.Compressor(w, c.config.MediaType)
	}
	if c.estargz {
		return stargz.New(w, compress.Options{Level: c.level, Workers: c.workers})
	}
	return compress.NewWriter(w, c.algorithm, compress.Options{Level: c.level, Workers: c.workers})
}

// commit makes the blob visible with its labels. The same layer may be there
// already, made by an earlier build; then only a missing label is added.
func (c *comparison) commit(ctx context.Context, cw content.Writer, layer *Layer) error {
	set := c.labels(layer.DiffID)
	dgst := cw.Digest()
	err := cw.Commit(ctx, 0, dgst, content.WithLabels(set))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("commit blob %s: %w", dgst, err)
	}
	return c.describe(ctx, dgst, set, layer)
}

// labels are those of a blob with the diff id.
func (c *comparison) labels(diffID digest.Digest) map[string]string {
	set := maps.Clone(c.config.Labels)
	if set == nil {
		set = map[string]string{}
	}
	set[labels.LabelUncompressed] = diffID.String()
	return set
}

// describe fills in the descriptor of a blob that is in the store, and adds the
// label if it was there without.
func (c *comparison) describe(ctx context.Context, dgst digest.Digest, set map[string]string, layer *Layer) error {
	info, err := c.differ.store.Info(ctx, dgst)
	if err != nil {
		return fmt.Errorf("stat blob %s: %w", dgst, err)
	}
	if info.Labels[labels.LabelUncompressed] == "" {
		info.Labels = set
		if _, err := c.differ.store.Update(ctx, info, "labels."+labels.LabelUncompressed); err != nil {
			return fmt.Errorf("label blob %s: %w", dgst, err)
		}
	}
	layer.Descriptor = ocispec.Descriptor{
		MediaType: c.config.MediaType, Digest: dgst, Size: info.Size, Annotations: layer.Descriptor.Annotations,
	}
	return nil
}
