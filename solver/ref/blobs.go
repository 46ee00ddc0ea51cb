package ref

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/solver"
)

// maxCompares is how many blobs a Store makes at once. Each uses several
// cores by itself when it compresses.
const maxCompares = 2

// Layer is one layer of an image: what it was packed into, and what is inside.
type Layer struct {
	// Descriptor of the blob, with annotations.
	Descriptor ocispecs.Descriptor
	// DiffID is the digest of the uncompressed tar.
	DiffID digest.Digest
	// Linked blobs share most of their bytes with the layer's files on disk.
	Linked bool
	// CreatedAt and Description tell when and how it was made; may be empty.
	CreatedAt   *time.Time
	Description string
}

// LayerOptions say what blobs Layers should return.
type LayerOptions struct {
	// Compression of blobs made here: Gzip (also for ""), Zstd, Estargz or
	// Uncompressed.
	Compression string
	// Level of the algorithm; nil is its default.
	Level *int
	// Force converts layers that came with an image too, if they have another
	// compression.
	Force bool
	// Epoch, if set, bounds modification times in all layers but those whose
	// diff ids are in Keep.
	Epoch *time.Time
	Keep  []digest.Digest
	// Workers bounds the cores that compress one layer; 0 is all. It changes
	// no byte.
	Workers int
}

// Layers returns the layers of the file system as blobs in the content store,
// base first; none for a nil Ref. Blobs that are missing are made, each once
// however many ask, and are owned by the ref they belong to. Layers that came
// with an image are passed on as they came unless opt says otherwise.
func (r *Ref) Layers(ctx context.Context, opt LayerOptions, _ solver.Env) ([]Layer, error) {
	if r == nil {
		return nil, nil
	}
	if opt.Compression == "" {
		opt.Compression = Gzip
	}
	chain := r.e.chain()
	out := make([]Layer, len(chain))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(maxCompares)
	for i, e := range chain {
		eg.Go(func() error {
			blob, err := e.s.blob(ctx, e.packed(), opt)
			if err != nil {
				return fmt.Errorf("layer of ref %s: %w", e.id, err)
			}
			out[i] = e.layer(blob)
			return nil
		})
	}
	return out, eg.Wait()
}

// layer describes a blob of the entry.
func (e *entry) layer(blob blobRecord) Layer {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	created := e.rec.CreatedAt
	return Layer{
		Descriptor:  blob.Descriptor,
		DiffID:      blob.DiffID,
		CreatedAt:   &created,
		Description: e.rec.Description,
	}
}

// rewrites tells whether the times in a layer of an image are to be bounded,
// and have not been already.
func (o *LayerOptions) rewrites(original blobRecord) bool {
	return o.Epoch != nil && !slices.Contains(o.Keep, original.DiffID) &&
		original.Descriptor.Annotations[AnnotationEpoch] != strconv.FormatInt(o.Epoch.Unix(), 10)
}

// blobVariant names what makes one blob of a layer differ from another.
func blobVariant(opt LayerOptions, original bool) string {
	v := opt.Compression
	if opt.Level != nil {
		v += "@" + strconv.Itoa(*opt.Level)
	}
	if opt.Epoch != nil && !original {
		v += "#" + strconv.FormatInt(opt.Epoch.Unix(), 10)
	}
	return v
}

// originalVariant is the name of the blob that came with an image.
const originalVariant = "original"

// blob returns the blob of the entry's own layer that opt asks for.
func (s *Store) blob(ctx context.Context, e *entry, opt LayerOptions) (blobRecord, error) {
	original, came := e.blob(originalVariant)
	if came && opt.rewrites(original) {
		came = false
	}
	// The image's own blob is what registries have already.
	if came && (!opt.Force || CompressionOfLayer(original.Descriptor) == opt.Compression && opt.Level == nil) {
		if s.present(ctx, original) {
			return original, nil
		}
		came = false
	}
	variant := blobVariant(opt, came)
	if b, ok := e.blob(variant); ok && s.present(ctx, b) {
		return b, nil
	}
	v, err := s.share(ctx, e, "blob "+variant, func(ctx context.Context) (any, error) {
		if b, ok := e.blob(variant); ok && s.present(ctx, b) {
			return b, nil
		}
		copt := CompareOptions{Compression: opt.Compression, Level: opt.Level, Epoch: opt.Epoch, Workers: opt.Workers}
		var b blobRecord
		var err error
		if came && s.cfg.Converter != nil {
			copt.Epoch = nil // layers of other images keep their times
			b, err = s.convert(ctx, e, original, copt)
		} else {
			b, err = s.compareAndIndex(ctx, e, copt)
		}
		if err != nil {
			return nil, err
		}
		return b, e.setBlob(variant, b)
	})
	if err != nil {
		return blobRecord{}, err
	}
	return v.(blobRecord), nil
}

// AnnotationEpoch on a layer has the seconds of the epoch that its times were
// bounded by (wire format fact).
const AnnotationEpoch = "buildkit/rewritten-timestamp"

// anyBlob returns whatever blob the layer has, or makes an uncompressed one,
// which the caller should drop: temporary is set.
func (s *Store) anyBlob(ctx context.Context, e *entry) (b blobRecord, temporary bool, err error) {
	e = e.packed()
	for _, b := range e.blobs() {
		// An Estargz layer holds a file more than the snapshot.
		if (b.Original || CompressionOfLayer(b.Descriptor) != Estargz) && s.present(ctx, b) {
			return b, false, nil
		}
	}
	b, err = s.compareAndIndex(ctx, e, CompareOptions{Compression: Uncompressed})
	return b, err == nil, err
}

// compareAndIndex makes a blob and keeps the index if the comparer made one on
// the way.
func (s *Store) compareAndIndex(ctx context.Context, e *entry, opt CompareOptions) (blobRecord, error) {
	layer, idx, err := s.compare(ctx, e, opt)
	if err != nil {
		return blobRecord{}, err
	}
	// With an epoch the index describes what was written, not what is there.
	if idx != nil && opt.Epoch == nil && !s.hasIndex(ctx, e) {
		s.putIndex(ctx, e, idx)
	}
	b := blobRecord{Descriptor: layer.Descriptor, DiffID: layer.DiffID, Linked: layer.Linked}
	if opt.Epoch != nil {
		b.Descriptor.Annotations = maps.Clone(b.Descriptor.Annotations)
		if b.Descriptor.Annotations == nil {
			b.Descriptor.Annotations = map[string]string{}
		}
		b.Descriptor.Annotations[AnnotationEpoch] = strconv.FormatInt(opt.Epoch.Unix(), 10)
	}
	return b, nil
}

// compare makes a blob of the own layer, owned by the ref.
func (s *Store) compare(ctx context.Context, e *entry, opt CompareOptions) (Layer, *layerindex.Index, error) {
	select {
	case s.compares <- struct{}{}:
	case <-ctx.Done():
		return Layer{}, nil, context.Cause(ctx)
	}
	defer func() { <-s.compares }()
	lower, upper, release, err := s.pair(ctx, e)
	if err != nil {
		return Layer{}, nil, err
	}
	layer, idx, err := s.cfg.Comparer.CompareLayer(s.leased(ctx, e.lease), lower, upper, opt)
	if rerr := release(); err == nil {
		err = rerr
	}
	if err != nil {
		return Layer{}, nil, fmt.Errorf("compare: %w", err)
	}
	return layer, idx, nil
}

// convert makes a blob out of another one.
func (s *Store) convert(ctx context.Context, e *entry, from blobRecord, opt CompareOptions) (blobRecord, error) {
	select {
	case s.compares <- struct{}{}:
	case <-ctx.Done():
		return blobRecord{}, context.Cause(ctx)
	}
	defer func() { <-s.compares }()
	layer, err := s.cfg.Converter.ConvertLayer(s.leased(ctx, e.lease), from.Descriptor, opt)
	if err != nil {
		return blobRecord{}, fmt.Errorf("convert %s: %w", from.Descriptor.Digest, err)
	}
	return blobRecord{Descriptor: layer.Descriptor, DiffID: layer.DiffID}, nil
}

// pair returns the mounts between which the own layer of e is the difference.
func (s *Store) pair(ctx context.Context, e *entry) (lower, upper []mount.Mount, release func() error, err error) {
	upper, releaseUpper, err := (&Ref{e: e, borrowed: true}).Mounts(ctx)
	if err != nil || len(e.parents) == 0 {
		return nil, upper, releaseUpper, err
	}
	lower, releaseLower, err := (&Ref{e: e.parents[0], borrowed: true}).Mounts(ctx)
	if err != nil {
		return nil, nil, nil, errors.Join(err, releaseUpper())
	}
	return lower, upper, func() error { return errors.Join(releaseLower(), releaseUpper()) }, nil
}

// dropBlob takes a blob away from the ref; containerd's collector frees it.
func (s *Store) dropBlob(ctx context.Context, e *entry, d digest.Digest) error {
	err := s.cfg.Leases.DeleteResource(s.ctx(context.WithoutCancel(ctx)), leaseOf(e), leases.Resource{ID: d.String(), Type: "content"})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("drop blob %s: %w", d, err)
	}
	return nil
}

// present reports whether a recorded blob is still in the content store.
func (s *Store) present(ctx context.Context, b blobRecord) bool {
	_, err := s.cfg.Content.Info(s.ctx(ctx), b.Descriptor.Digest)
	return err == nil
}

func (e *entry) blob(variant string) (blobRecord, bool) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	b, ok := e.rec.Blobs[variant]
	return b, ok
}

// blobs returns the original first.
func (e *entry) blobs() []blobRecord {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	var out []blobRecord
	if b, ok := e.rec.Blobs[originalVariant]; ok {
		out = append(out, b)
	}
	for v, b := range e.rec.Blobs {
		if v != originalVariant {
			out = append(out, b)
		}
	}
	return out
}

// setBlob records a blob. Maps in records are replaced, never changed.
func (e *entry) setBlob(variant string, b blobRecord) error {
	e.s.mu.Lock()
	blobs := map[string]blobRecord{variant: b}
	for v, old := range e.rec.Blobs {
		if v != variant {
			blobs[v] = old
		}
	}
	e.rec.Blobs = blobs
	if e.rec.DiffID == "" && CompressionOfLayer(b.Descriptor) != Estargz {
		e.rec.DiffID = b.DiffID
	}
	e.s.mu.Unlock()
	return e.s.save(e)
}
