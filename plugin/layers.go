package plugin

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver/ref"
)

// layerMedia are the media types of layers by compression.
var layerMedia = map[string]string{
	"": ocispecs.MediaTypeImageLayerGzip, ref.Gzip: ocispecs.MediaTypeImageLayerGzip,
	ref.Zstd: ocispecs.MediaTypeImageLayerZstd, ref.Uncompressed: ocispecs.MediaTypeImageLayer,
	ref.Estargz: ocispecs.MediaTypeImageLayerGzip,
}

// layerDiffer makes a ref store's comparer and applier of a host's: kiln's own
// differ gives indexes, others go without.
type layerDiffer struct {
	host *Host
}

// CompareLayer makes a blob.
func (d layerDiffer) CompareLayer(ctx context.Context, lower, upper []mount.Mount, opt ref.CompareOptions) (ref.Layer, *layerindex.Index, error) {
	media, ok := layerMedia[opt.Compression]
	if !ok {
		return ref.Layer{}, nil, fmt.Errorf("compression %q is not known", opt.Compression)
	}
	var options []diff.Opt
	if opt.Epoch != nil {
		options = append(options, diff.WithSourceDateEpoch(opt.Epoch))
	}
	if own, ok := d.host.Comparer.(*differ.Differ); ok {
		l, err := own.CompareLayer(ctx, lower, upper, differ.CompareOptions{
			MediaType: media, Level: opt.Level, Estargz: opt.Compression == ref.Estargz, NoIndex: !opt.Index, Workers: opt.Workers, Diff: options,
		})
		return ref.Layer{Descriptor: l.Descriptor, DiffID: l.DiffID, Linked: l.Linked}, l.Index, err
	}
	if opt.Compression == ref.Estargz {
		return ref.Layer{}, nil, fmt.Errorf("compression %s needs kiln's own differ: %w", opt.Compression, errdefs.ErrNotImplemented)
	}
	desc, err := d.host.Comparer.Compare(ctx, lower, upper, append(options, diff.WithMediaType(media))...)
	if err != nil {
		return ref.Layer{}, nil, err
	}
	id := desc.Digest
	if media != ocispecs.MediaTypeImageLayer {
		info, err := d.host.Content.Info(ctx, desc.Digest)
		if err != nil {
			return ref.Layer{}, nil, err
		}
		if id, err = digest.Parse(info.Labels[labels.LabelUncompressed]); err != nil {
			return ref.Layer{}, nil, fmt.Errorf("diff id of layer %s: %w", desc.Digest, err)
		}
	}
	return ref.Layer{Descriptor: desc, DiffID: id}, nil, nil
}

// layerConverter changes the compression of blobs with kiln's own differ.
type layerConverter struct {
	own *differ.Differ
}

// ConvertLayer makes a blob of another one.
func (c layerConverter) ConvertLayer(ctx context.Context, desc ocispecs.Descriptor, opt ref.CompareOptions) (ref.Layer, error) {
	media, ok := layerMedia[opt.Compression]
	if !ok {
		return ref.Layer{}, fmt.Errorf("compression %q is not known", opt.Compression)
	}
	l, err := c.own.ConvertLayer(ctx, desc, differ.CompareOptions{
		MediaType: media, Level: opt.Level, Estargz: opt.Compression == ref.Estargz, Workers: opt.Workers,
	})
	return ref.Layer{Descriptor: l.Descriptor, DiffID: l.DiffID}, err
}

// ApplyLayer unpacks a blob.
func (d layerDiffer) ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, progress func(int64)) (digest.Digest, *layerindex.Index, error) {
	var options []diff.ApplyOpt
	if progress != nil {
		options = append(options, diff.WithProgress(func(_ ocispecs.Descriptor, n int64) { progress(n) }))
	}
	if own, ok := d.host.Applier.(*differ.Differ); ok {
		a, err := own.ApplyLayer(ctx, desc, mounts, options...)
		return a.Descriptor.Digest, a.Index, err
	}
	out, err := d.host.Applier.Apply(ctx, desc, mounts, options...)
	return out.Digest, nil, err
}

// layerRebaser reads layer directories of kiln's snapshotter.
type layerRebaser struct{}

// Portable reports whether a layer can be laid over any other.
func (layerRebaser) Portable(ctx context.Context, lower, upper []mount.Mount) (bool, error) {
	return differ.PortableLayer(ctx, lower, upper)
}

// Rebase makes a form of the layer that can.
func (layerRebaser) Rebase(ctx context.Context, lower, upper []mount.Mount, dir string) error {
	return differ.RebaseLayer(ctx, lower, upper, dir)
}

// layerAbilities fills in what kiln's own snapshotter and differ can do beyond
// containerd's contracts; with others the builder does without.
func layerAbilities(h *Host, cfg *ref.Config) {
	cfg.IndexDir = differ.IndexDir
	cfg.Mount = snapshotter.Mount
	if own, ok := h.Comparer.(*differ.Differ); ok {
		cfg.Converter = layerConverter{own}
	}
	own, ok := h.Backend.(*snapshotter.Snapshotter)
	if !ok {
		return
	}
	cfg.Layers = own
	cfg.Rebaser = layerRebaser{}
	// The commit of such a layer makes it durable; a crash before that loses
	// only work in flight.
	cfg.LayerOpts = []snapshots.Opt{snapshotter.WithVolatile()}
	cfg.Merge = func(ctx context.Context, key string, spans []ref.Span) ([]mount.Mount, error) {
		list := make([]snapshotter.Span, len(spans))
		for i, s := range spans {
			list[i] = snapshotter.Span{Upper: s.Upper, Lower: s.Lower}
		}
		return snapshotter.Merge(ctx, h.Snapshotter, key, list)
	}
}
