package stargz

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/differ/compress"
)

// Annotations of a layer's descriptor (wire format facts).
const (
	AnnotationTOC  = estargz.TOCJSONDigestAnnotation
	AnnotationSize = estargz.StoreUncompressedSizeAnnotation
)

// Result describes a layer that was written.
type Result struct {
	// DiffID is the digest of the tar including the table.
	DiffID digest.Digest
	// TOC is the digest of the table.
	TOC digest.Digest
	// Size is the length of the tar including the table, in bytes.
	Size int64
}

// Annotations are those that the layer's descriptor needs.
func (r Result) Annotations() map[string]string {
	return map[string]string{
		AnnotationTOC:  r.TOC.String(),
		AnnotationSize: strconv.FormatInt(r.Size, 10),
	}
}

// Writer makes a layer out of a tar.
type Writer struct {
	tar    *io.PipeWriter
	done   chan struct{}
	result Result
	err    error // set before done is closed
}

// New starts a layer that is written to w; the options are those of gzip.
func New(w io.Writer, options compress.Options) (*Writer, error) {
	c := &compressor{options: options, table: compress.DefaultGzipLevel}
	if options.Level != nil {
		c.table = *options.Level
	}
	// The level is checked before anything is written.
	if _, err := compress.NewWriter(io.Discard, compress.Gzip, c.options); err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	out := &Writer{tar: pw, done: make(chan struct{})}
	go func() {
		defer close(out.done)
		out.result, out.err = c.run(w, pr)
		// Nobody reads any more: further writes fail.
		pr.CloseWithError(errors.Join(out.err, io.ErrClosedPipe))
	}()
	return out, nil
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) { return w.tar.Write(p) }

// Close ends the tar and writes the table. Idempotent.
func (w *Writer) Close() error {
	_ = w.tar.Close() // never fails
	<-w.done
	return w.err
}

// Result describes the layer after Close succeeded.
func (w *Writer) Result() Result { return w.result }

// compressor gives the library kiln's own gzip, which uses all cores, and counts
// what goes into it.
type compressor struct {
	options compress.Options
	// table is the level that the table of contents is compressed with.
	table int
	size  int64
}

var _ estargz.Compressor = (*compressor)(nil)

// run turns the tar into a layer.
func (c *compressor) run(w io.Writer, tar io.Reader) (Result, error) {
	sw := estargz.NewWriterWithCompressor(w, c)
	if err := sw.AppendTarLossLess(tar); err != nil {
		return Result{}, fmt.Errorf("write estargz layer: %w", err)
	}
	toc, err := sw.Close()
	if err != nil {
		return Result{}, fmt.Errorf("write table of estargz layer: %w", err)
	}
	id, err := digest.Parse(sw.DiffID())
	return Result{DiffID: id, TOC: toc, Size: c.size}, err
}

// Writer implements estargz.Compressor: it starts one gzip member.
func (c *compressor) Writer(w io.Writer) (estargz.WriteFlushCloser, error) {
	zw, err := compress.NewWriter(w, compress.Gzip, c.options)
	return &member{zw, &c.size}, err
}

// WriteTOCAndFooter implements estargz.Compressor.
func (c *compressor) WriteTOCAndFooter(w io.Writer, off int64, toc *estargz.JTOC, diffHash hash.Hash) (digest.Digest, error) {
	return estargz.NewGzipCompressorWithLevel(c.table).WriteTOCAndFooter(w, off, toc, &counted{diffHash, &c.size})
}

// member is one gzip member. It is closed where the library wants to know the
// offset, so there is never anything to flush.
type member struct {
	io.WriteCloser
	size *int64
}

// Write implements io.Writer.
func (m *member) Write(p []byte) (int, error) {
	*m.size += int64(len(p))
	return m.WriteCloser.Write(p)
}

// Flush implements estargz.WriteFlushCloser.
func (m *member) Flush() error { return nil }

// counted counts what a digest is taken of.
type counted struct {
	hash.Hash
	size *int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	*c.size += int64(len(p))
	return c.Hash.Write(p)
}

// Payload returns the length of the part of a blob that holds the original tar:
// all of it, unless it is an eStargz layer.
func Payload(r io.ReaderAt, size int64) (int64, error) {
	if size < estargz.FooterSize {
		return size, nil
	}
	footer := make([]byte, estargz.FooterSize)
	if _, err := r.ReadAt(footer, size-estargz.FooterSize); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read footer: %w", err)
	}
	payload, _, _, err := new(estargz.GzipDecompressor).ParseFooter(footer)
	if err != nil || payload < 0 || payload > size-estargz.FooterSize {
		return size, nil // Another kind of layer.
	}
	return payload, nil
}
