package compress

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// DefaultMaxWindow is what a decoder may allocate for its window: every level
// of every known encoder but "zstd --ultra --long=31" stays below it.
const DefaultMaxWindow = 128 << 20

// readBuffer is how much compressed input is read at once.
const readBuffer = 256 << 10

// Limits bound what a hostile stream can cost.
type Limits struct {
	// MaxWindow is the largest window (zstd) or dictionary (xz) in bytes that a
	// stream may ask the decoder to allocate. Zero means DefaultMaxWindow.
	MaxWindow int64
}

// maxWindow resolves the default.
func (l Limits) maxWindow() int64 {
	if l.MaxWindow > 0 {
		return l.MaxWindow
	}
	return DefaultMaxWindow
}

// Reader yields the decompressed bytes of a stream.
type Reader struct {
	io.Reader
	algorithm Algorithm
	close     func()
}

// Algorithm tells what the magic number said.
func (r *Reader) Algorithm() Algorithm { return r.algorithm }

// Close releases the decoder. It does not close the source. Idempotent.
func (r *Reader) Close() error {
	if r.close != nil {
		r.close()
		r.close = nil
	}
	return nil
}

// NewReader sniffs the algorithm of r and returns a Reader over the
// decompressed bytes. An empty source is an empty uncompressed stream. A
// header that is damaged or asks for more than the limits allow is refused with
// errdefs.ErrInvalidArgument, here or on first Read.
func NewReader(r io.Reader, limits Limits) (*Reader, error) {
	br := bufio.NewReaderSize(r, readBuffer)
	head, err := br.Peek(magicLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read magic number: %w", err)
	}
	out := &Reader{algorithm: Detect(head)}
	switch out.algorithm {
	case Uncompressed:
		out.Reader = br
	case Gzip:
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip header: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		out.Reader = zr
	case Zstd:
		// A small window is decoded through a buffer of at least the decoder's
		// own block size, so a tiny limit is raised by the library itself.
		zr, err := zstd.NewReader(br,
			zstd.WithDecoderMaxWindow(uint64(limits.maxWindow())),
			zstd.WithDecoderMaxMemory(1<<62), // streams may be any length
			zstd.WithDecoderConcurrency(2),
			zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("read zstd header: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		out.Reader, out.close = zr, zr.Close
	case Bzip2:
		out.Reader = bzip2.NewReader(br)
	case Xz:
		out.Reader = newXzReader(br, limits.maxWindow())
	}
	return out, nil
}
