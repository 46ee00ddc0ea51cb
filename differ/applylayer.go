package differ

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ/apply"
	"github.com/kilnbuild/kiln/differ/compress"
	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// maxProcessors bounds the chain of stream processors of a blob.
const maxProcessors = 16

// Applied is the result of applying a layer.
type Applied struct {
	// Descriptor names the uncompressed tar: its digest is the diff id. Nothing
	// is stored under it.
	Descriptor ocispec.Descriptor
	// Index describes the layer's files.
	Index *layerindex.Index
}

// Apply implements diff.Applier: it unpacks the blob desc into mounts and
// returns the descriptor of the uncompressed tar. See ApplyLayer.
func (d *Differ) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	applied, err := d.ApplyLayer(ctx, desc, mounts, opts...)
	return applied.Descriptor, err
}

// ApplyLayer unpacks the blob desc from the content store into mounts. The
// media type must be a layer's or one that a registered stream processor turns
// into a layer; others are errdefs.ErrNotImplemented.
//
// The blob's own digest is the content store's business: it was verified when
// the blob was written.
func (d *Differ) ApplyLayer(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (_ Applied, err error) {
	var config diff.ApplyConfig
	for _, o := range opts {
		if err := o(ctx, desc, &config); err != nil {
			return Applied{}, fmt.Errorf("apply option: %w", err)
		}
	}
	ra, err := d.store.ReaderAt(ctx, desc)
	if err != nil {
		return Applied{}, fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	blob := &progressReader{r: content.NewReader(ra), report: config.Progress}
	blob.tell()
	stream, err := d.openStream(ctx, desc, blob, config)
	if err != nil {
		return Applied{}, err
	}
	defer stream.close()
	sum := newSummer(stream)
	defer sum.stop()
	index, err := d.unpack(ctx, sum, mounts, config.SyncFs)
	if err != nil {
		return Applied{}, fmt.Errorf("apply %s: %w", desc.Digest, err)
	}
	// What follows the end of the tar belongs to the diff id all the same.
	if _, err := io.Copy(io.Discard, sum); err != nil {
		return Applied{}, fmt.Errorf("read the rest of %s: %w", desc.Digest, err)
	}
	if err := stream.err(); err != nil {
		return Applied{}, fmt.Errorf("process %s: %w", desc.Digest, err)
	}
	blob.tell()
	return Applied{
		Descriptor: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayer,
			Digest:    digest.NewDigest(digest.SHA256, sum.hash),
			Size:      sum.size,
		},
		Index: index,
	}, nil
}

// unpack applies the tar to the mounts.
func (d *Differ) unpack(ctx context.Context, tar io.Reader, mounts []mount.Mount, syncFs bool) (*layerindex.Index, error) {
	opts := apply.LayerOptions{Limits: d.config.Limits}
	view, ok := overlay.ParseView(mounts)
	// In a user namespace only overlays with user attributes can be written
	// directly.
	if ok && view.Overlay && view.Upper != "" && (view.Attrs == overlay.UserAttrs || !userns.RunningInUserNS()) {
		index, err := apply.Layer(ctx, tar, apply.Target{
			Dir:       view.Upper,
			Layered:   true,
			Lower:     view.Dirs[1:],
			UserXattr: view.Attrs == overlay.UserAttrs,
		}, opts)
		return index, syncAfter(err, syncFs, view.Upper)
	}
	var index *layerindex.Index
	err := withMount(ctx, d.config.Mounts, mounts, false, func(root string) error {
		var err error
		index, err = apply.Layer(ctx, tar, apply.Target{Dir: root}, opts)
		return syncAfter(err, syncFs, root)
	})
	return index, err
}

// syncAfter flushes the file system of dir if err is nil and it is asked for.
func syncAfter(err error, syncFs bool, dir string) error {
	if err != nil || !syncFs {
		return err
	}
	fd, err := inode.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("sync file system of %s: %w", dir, err)
	}
	return nil
}

// tarStream is the tar inside a blob with what has to be closed behind it.
type tarStream struct {
	io.Reader
	processors []diff.StreamProcessor
	reader     *compress.Reader
}

// openStream finds the way from the blob to its tar. Kiln's own decompression
// takes the layer types it knows; anything else goes through the processors
// that are registered with containerd until it is a layer.
func (d *Differ) openStream(ctx context.Context, desc ocispec.Descriptor, blob io.Reader, config diff.ApplyConfig) (*tarStream, error) {
	s := &tarStream{Reader: blob}
	mediaType := desc.MediaType
	for !isLayer(mediaType) {
		// A processor may name its own input as output; do not go round for ever.
		if len(s.processors) > maxProcessors {
			s.close()
			return nil, fmt.Errorf("more than %d stream processors for %q: %w", maxProcessors, desc.MediaType, errdefs.ErrInvalidArgument)
		}
		if len(s.processors) == 0 {
			s.processors = append(s.processors, diff.NewProcessorChain(mediaType, blob))
		}
		last := s.processors[len(s.processors)-1]
		next, err := diff.GetProcessor(ctx, last, config.ProcessorPayloads)
		if err != nil {
			s.close()
			return nil, processorError(mediaType, err)
		}
		s.processors = append(s.processors, next)
		s.Reader = next
		mediaType = next.MediaType()
	}
	reader, err := compress.NewReader(s.Reader, d.config.Decompress)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("decompress %s: %w", desc.Digest, err)
	}
	s.reader, s.Reader = reader, reader
	return s, nil
}

// close releases processors from the last to the first.
func (s *tarStream) close() {
	if s.reader != nil {
		s.reader.Close()
	}
	for i := len(s.processors) - 1; i >= 0; i-- {
		s.processors[i].Close()
	}
}

// err collects what external processors report after their output ended.
func (s *tarStream) err() error {
	var all []error
	for _, p := range s.processors {
		if e, ok := p.(interface{ Err() error }); ok {
			all = append(all, e.Err())
		}
	}
	return errors.Join(all...)
}

// progressReader counts the blob's bytes for diff.WithProgress. What it reports
// has been read and handed on, not necessarily unpacked.
type progressReader struct {
	r      io.Reader
	n      int64
	report func(int64)
}

// Read reports what was read before, then reads on.
func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	p.tell()
	return n, err
}

// tell reports the count, if anybody wants it.
func (p *progressReader) tell() {
	if p.report != nil {
		p.report(p.n)
	}
}

// summer hashes and counts the tar while it passes.
type summer struct {
	*readAhead
	hash hash.Hash
	size int64
}

// newSummer starts reading ahead: decompression and hashing run on one core
// while files are written on another.
func newSummer(r io.Reader) *summer {
	s := &summer{hash: sha256.New()}
	s.readAhead = startReadAhead(r, func(p []byte) {
		s.hash.Write(p)
		s.size += int64(len(p))
	})
	return s
}

// processorError gives a missing stream processor its errdefs kind, so that
// containerd tries the next differ.
func processorError(mediaType string, err error) error {
	if errors.Is(err, diff.ErrNoProcessor) {
		return fmt.Errorf("layer media type %q: %w: %w", mediaType, err, errdefs.ErrNotImplemented)
	}
	return fmt.Errorf("process media type %q: %w", mediaType, err)
}
