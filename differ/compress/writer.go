package compress

import (
	"fmt"
	"io"
	"runtime"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
)

// Levels used when Options.Level is nil.
const (
	// DefaultGzipLevel is the level every other builder uses, so sizes compare.
	DefaultGzipLevel = 6
	// DefaultZstdLevel is zstd's own default.
	DefaultZstdLevel = 3
)

// zstdMinConcurrency keeps the encoder in its parallel mode even on one core:
// serial and parallel mode cut the input differently, and the bytes must not
// depend on the machine. Above one, the number of workers changes no byte.
const zstdMinConcurrency = 2

// zstdWindow is the window up to the default level: that of the reference
// implementation. The encoder's own is 8 MiB, which makes layers 3 % smaller and
// takes half as long again and four times the memory: each worker holds several
// windows.
const zstdWindow = 2 << 20

// Options tune a Writer. The zero value is right for most callers.
type Options struct {
	// Level is 0–9 for gzip (0 stores, 9 is smallest) and 0–22 for zstd, mapped
	// to the nearest level the encoder has. Nil means the default.
	Level *int
	// Workers bounds how many blocks are compressed at once. It changes
	// the speed, never the bytes. Zero means GOMAXPROCS.
	Workers int
}

// NewWriter returns a writer that compresses into w. Closing it flushes and
// writes the trailer but leaves w open. A level out of range and an algorithm
// that can only be read are refused with errdefs.ErrInvalidArgument.
func NewWriter(w io.Writer, a Algorithm, opts Options) (io.WriteCloser, error) {
	switch a {
	case Uncompressed:
		return nopCloser{w}, nil
	case Gzip:
		level, err := opts.level(DefaultGzipLevel, 9, a)
		if err != nil {
			return nil, err
		}
		return newGzipWriter(w, level, opts.workers()), nil
	case Zstd:
		level, err := opts.level(DefaultZstdLevel, 22, a)
		if err != nil {
			return nil, err
		}
		speed := zstd.EncoderLevelFromZstd(level)
		encoder := []zstd.EOption{
			zstd.WithEncoderLevel(speed),
			zstd.WithEncoderConcurrency(max(zstdMinConcurrency, opts.workers())),
			zstd.WithConcurrentBlocks(true),
		}
		if speed <= zstd.SpeedDefault {
			encoder = append(encoder, zstd.WithWindowSize(zstdWindow))
		}
		zw, err := zstd.NewWriter(w, encoder...)
		if err != nil {
			return nil, fmt.Errorf("create zstd encoder: %w", err)
		}
		return zw, nil
	}
	return nil, fmt.Errorf("compression %s cannot be written, use gzip or zstd: %w", a, errdefs.ErrInvalidArgument)
}

// level resolves and checks the requested level.
func (o Options) level(def, highest int, a Algorithm) (int, error) {
	if o.Level == nil {
		return def, nil
	}
	if *o.Level < 0 || *o.Level > highest {
		return 0, fmt.Errorf("%s compression level %d is not in 0–%d: %w", a, *o.Level, highest, errdefs.ErrInvalidArgument)
	}
	return *o.Level, nil
}

// workers resolves the number of parallel blocks.
func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// nopCloser passes bytes through; it is the writer of Uncompressed.
type nopCloser struct{ io.Writer }

// Close does nothing, the destination belongs to the caller.
func (nopCloser) Close() error { return nil }
