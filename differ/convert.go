package differ

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ/stargz"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ConvertLayer stores the tar inside the blob desc with another compression and
// returns the new blob with its diff id, which is that of desc: the tar is
// copied byte for byte, padding behind its end included. Layer.Index is nil,
// because the tar is not parsed.
//
// Options mean what they mean for CompareLayer, except that an epoch has no
// effect: it would change the tar. An eStargz layer gets a table of contents and
// so another diff id; if the blob has a table, that one is left out. A blob whose label tells another diff id than
// it has fails with errdefs.ErrDataLoss.
func (d *Differ) ConvertLayer(ctx context.Context, desc ocispec.Descriptor, opts CompareOptions) (Layer, error) {
	job, err := d.newComparison(ctx, opts)
	if err != nil {
		return Layer{}, err
	}
	info, err := d.store.Info(ctx, desc.Digest)
	if err != nil {
		return Layer{}, fmt.Errorf("stat blob %s: %w", desc.Digest, err)
	}
	ra, err := d.store.ReaderAt(ctx, desc)
	if err != nil {
		return Layer{}, fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	known := info.Labels[labels.LabelUncompressed]
	from := content.NewReader(ra)
	if job.estargz {
		n, err := stargz.Payload(ra, ra.Size())
		if err != nil {
			return Layer{}, fmt.Errorf("look into blob %s: %w", desc.Digest, err)
		}
		if n < ra.Size() {
			// The label tells of the table too.
			from, known = io.NewSectionReader(ra, 0, n), ""
		}
	}
	stream, err := d.openStream(ctx, desc, from, diff.ApplyConfig{})
	if err != nil {
		return Layer{}, err
	}
	defer stream.close()
	return job.store(ctx, func(ctx context.Context, cw content.Writer) (Layer, error) {
		var layer Layer
		id, err := job.recompress(ctx, cw, stream, &layer)
		if err != nil {
			return Layer{}, fmt.Errorf("convert %s: %w", desc.Digest, err)
		}
		if known != "" && known != id.String() {
			return Layer{}, fmt.Errorf("convert %s: its content is %s, its label says %s: %w", desc.Digest, id, known, errdefs.ErrDataLoss)
		}
		return layer, nil
	})
}

// recompress copies the tar into the upload, fills in the layer and returns the
// digest of what was read. Decompression and hashing run beside compression.
func (c *comparison) recompress(ctx context.Context, cw content.Writer, stream *tarStream, layer *Layer) (digest.Digest, error) {
	sum := newSummer(stream)
	defer sum.stop()
	compressor, err := c.compressor(cw)
	if err != nil {
		return "", fmt.Errorf("start compression: %w", err)
	}
	_, err = io.Copy(compressor, &contextReader{ctx, sum})
	if err == nil {
		err = stream.err()
	}
	if closeErr := compressor.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("finish compression: %w", closeErr)
	}
	if err != nil {
		return "", err
	}
	layer.DiffID = digest.NewDigest(digest.SHA256, sum.hash)
	id := layer.DiffID
	annotate(layer, compressor)
	return id, nil
}

// contextReader ends a copy when the call is cancelled.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives as long as the call it belongs to
	r   io.Reader
}

// Read implements io.Reader.
func (r *contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
