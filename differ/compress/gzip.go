package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/kilnbuild/kiln/differ/compress/deflate"
	"github.com/klauspost/compress/flate"
)

const (
	// gzipBlock is how many input bytes one worker compresses at once. It is
	// part of the output format in the sense that changing it changes every
	// digest this package ever produced for large inputs.
	gzipBlock = deflate.MaxChunk
	// gzipDict is the deflate window: more could not be referred to.
	gzipDict = deflate.HistorySize
)

// flateLevels are the levels of the general encoder by those of gzip, other than
// the default one, which has an encoder of its own: below it is faster and
// larger, above it slower and smaller. The levels of the general encoder give
// larger results than the same ones of zlib, so those above the default move
// along.
var flateLevels = [10]int{0, 1, 2, 3, 4, 5, 0, 8, 9, 9}

// errWriterClosed is returned by Write after Close.
var errWriterClosed = errors.New("gzip writer is closed")

// gzipHeader has no name and no time, so that the bytes depend on the content
// only; the OS byte is "unknown".
var gzipHeader = [10]byte{0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff}

// encoders and flaters pool deflate states, the latter per level: one is over a
// megabyte, and building it costs more than compressing a small layer.
var (
	encoders = sync.Pool{New: func() any { return new(deflate.Encoder) }}
	flaters  [10]sync.Pool
)

// gzipJobs pools block buffers across writers.
var gzipJobs = sync.Pool{New: func() any {
	return &gzipJob{data: make([]byte, 0, gzipDict+gzipBlock)}
}}

// gzipJob is one block on its way through a worker. data holds the dictionary
// followed by the block, so that the next block's dictionary is its tail.
type gzipJob struct {
	data []byte
	dict int
	last bool
	out  []byte
	err  error
	done chan struct{}
}

// gzipWriter compresses fixed blocks in parallel and writes them in order.
//
// Only the caller's goroutine touches the destination: when enough blocks are
// in flight, Write waits for the oldest and writes it out. There is therefore
// no goroutine whose life outlasts a block.
type gzipWriter struct {
	w       io.Writer
	level   int
	limit   int // blocks in flight
	cur     *gzipJob
	pending []*gzipJob
	crc     uint32
	size    uint32 // modulo 2^32, as the trailer wants it
	started bool
	err     error
}

// newGzipWriter expects a checked level.
func newGzipWriter(w io.Writer, level, workers int) *gzipWriter {
	return &gzipWriter{w: w, level: level, limit: 2 * workers}
}

// Write buffers p and hands every full block to a worker.
func (g *gzipWriter) Write(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	g.crc = crc32.Update(g.crc, crc32.IEEETable, p)
	g.size += uint32(len(p))
	total := len(p)
	for len(p) > 0 {
		if g.cur == nil {
			g.cur = newGzipJob(nil)
		}
		room := g.cur.dict + gzipBlock - len(g.cur.data)
		if room == 0 {
			if g.err = g.dispatch(false); g.err != nil {
				return 0, g.err
			}
			continue
		}
		n := min(room, len(p))
		g.cur.data = append(g.cur.data, p[:n]...)
		p = p[n:]
	}
	return total, nil
}

// Close compresses the remainder and writes the trailer.
func (g *gzipWriter) Close() error {
	if g.err != nil {
		if errors.Is(g.err, errWriterClosed) {
			return nil
		}
		return g.err
	}
	if g.cur == nil {
		g.cur = newGzipJob(nil)
	}
	if g.err = g.dispatch(true); g.err != nil {
		return g.err
	}
	for len(g.pending) > 0 {
		if g.err = g.writeOldest(); g.err != nil {
			return g.err
		}
	}
	var trailer [8]byte
	binary.LittleEndian.PutUint32(trailer[:4], g.crc)
	binary.LittleEndian.PutUint32(trailer[4:], g.size)
	if _, g.err = g.w.Write(trailer[:]); g.err != nil {
		return g.err
	}
	g.err = errWriterClosed
	return nil
}

// dispatch starts a worker on the current block and prepares the next one,
// whose dictionary is the tail of this one.
func (g *gzipWriter) dispatch(last bool) error {
	job := g.cur
	job.last = last
	g.cur = nil
	if !last {
		g.cur = newGzipJob(job.data[len(job.data)-gzipDict:])
	}
	g.pending = append(g.pending, job)
	go job.run(g.level)
	if len(g.pending) >= g.limit {
		return g.writeOldest()
	}
	return nil
}

// writeOldest waits for the first block in flight and writes it out.
func (g *gzipWriter) writeOldest() error {
	job := g.pending[0]
	g.pending = g.pending[1:]
	<-job.done
	if job.err != nil {
		return fmt.Errorf("deflate block: %w", job.err)
	}
	if !g.started {
		g.started = true
		if _, err := g.w.Write(gzipHeader[:]); err != nil {
			return err
		}
	}
	_, err := g.w.Write(job.out)
	gzipJobs.Put(job)
	return err
}

// newGzipJob takes a block buffer from the pool, primed with a copy of dict.
func newGzipJob(dict []byte) *gzipJob {
	job := gzipJobs.Get().(*gzipJob)
	job.data = append(job.data[:0], dict...)
	job.dict = len(dict)
	job.last = false
	job.err = nil
	job.out = job.out[:0]
	job.done = make(chan struct{})
	return job
}

// run deflates the block at a gzip level. All blocks but the last end in a sync
// marker, which aligns the stream to a byte so that blocks can be joined.
func (j *gzipJob) run(level int) {
	defer close(j.done)
	if level == DefaultGzipLevel {
		e := encoders.Get().(*deflate.Encoder)
		defer encoders.Put(e)
		j.out = e.Append(j.out, j.data, j.dict, j.last)
		return
	}
	j.err = j.flate(flateLevels[level])
}

// flate is run with the general encoder.
func (j *gzipJob) flate(level int) (err error) {
	out := bytes.NewBuffer(j.out)
	defer func() { j.out = out.Bytes() }()
	fw, _ := flaters[level].Get().(*flate.Writer)
	if fw == nil {
		if fw, err = flate.NewWriter(out, level); err != nil {
			return err
		}
	}
	defer flaters[level].Put(fw)
	fw.ResetDict(out, j.data[:j.dict])
	if _, err = fw.Write(j.data[j.dict:]); err != nil {
		return err
	}
	if j.last {
		return fw.Close()
	}
	return fw.Flush()
}
