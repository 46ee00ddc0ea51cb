package deflate

import "math/bits"

const (
	// segmentSize is how many bytes of input are counted together. Where a block
	// ends is known as exactly as this.
	segmentSize = 8 << 10
	// maxSequences bounds a block, and with it memory.
	maxSequences = 32 << 10

	// lazyLength is a match that is taken without a look at the next position.
	lazyLength = 16
	// skipShift is after how many bytes without a match, as a power of two, one
	// more position is left out each time, up to maxSkip.
	skipShift = 5
	maxSkip   = 8

	// shortPeriod is what a run repeats.
	shortPeriod = 8
)

// Encoder compresses chunks. The zero value is ready; it takes 1.5 MB, so it
// should be used again.
type Encoder struct {
	window window
	bits   bitWriter

	seqs    []sequence // of the current block and segment
	block   counts     // of the current block
	segment counts     // of what may become part of it

	literals, dists code
	header          header
}

// Append compresses data and appends the result to dst. The first history bytes
// of data are not part of it: the decoder has them, matches refer to them. The
// result ends at a whole byte, so that what follows can be appended, unless it
// is final.
func (e *Encoder) Append(dst, data []byte, history int, final bool) []byte {
	e.bits = bitWriter{out: dst}
	for {
		drop := max(0, history-HistorySize)
		data, history = data[drop:], history-drop
		size := e.window.fill(data)
		last := size == len(data)
		for p := range history {
			e.window.note(p)
		}
		e.chunk(history, size, final && last)
		if last {
			break
		}
		data, history = data[size-HistorySize:], HistorySize
	}
	if !final {
		e.bits.stored(nil, false)
	}
	e.bits.align()
	out := e.bits.out
	e.bits.out = nil
	return out
}

// chunk compresses what is in the window from start on. It parses one segment
// after another and writes a block whenever the next one differs.
func (e *Encoder) chunk(start, end int, final bool) {
	e.seqs = e.seqs[:0]
	e.block = counts{}
	begin := start // of the block
	for pos := start; pos < end; {
		known := len(e.seqs)
		next := e.parse(pos, min(pos+segmentSize, end), end)
		e.segment = counts{}
		e.segment.add(&e.window, pos, e.seqs[known:])
		merged := e.block
		merged.merge(&e.segment)
		if pos > begin && (len(e.seqs) > maxSequences || merged.cost() > e.block.cost()+e.segment.cost()) {
			e.writeBlock(begin, pos-begin, e.seqs[:known], false)
			e.seqs = e.seqs[:copy(e.seqs, e.seqs[known:])]
			begin = pos
			merged = e.segment
		}
		e.block = merged
		pos = next
	}
	e.writeBlock(begin, end-begin, e.seqs, final)
}

// parse appends the sequences from pos to limit and returns where they end: a
// match may go beyond limit, not beyond end.
func (e *Encoder) parse(pos, limit, end int) int {
	w := &e.window
	literals := pos // the first one that is in no sequence
	for pos < limit {
		length, distance := w.match(pos, minMatch-1)
		if length < minMatch {
			pos += 1 + min((pos-literals)>>skipShift, maxSkip)
			continue
		}
		noted := pos
		for length < lazyLength && pos+length < end {
			noted = pos + 1
			l, d := w.match(noted, length)
			if !better(l-length, distance, d) {
				break
			}
			pos, length, distance = noted, l, d
		}
		if length = min(length, end-pos); length < minMatch {
			break // too short an end
		}
		e.seqs = append(e.seqs, newSequence(pos-literals, length, distance))
		pos += length
		literals = pos
		if distance <= shortPeriod {
			// The inside of a run, mostly of zeros, has nothing new.
			noted = max(noted, pos-niceMatch)
		}
		for p := noted + 1; p < pos; p++ {
			w.note(p)
		}
	}
	// It may be beyond limit, by what was left out.
	if pos = min(max(pos, limit), end); pos > literals {
		e.seqs = append(e.seqs, newSequence(pos-literals, 0, 0))
	}
	return pos
}

// better tells if a match one byte later is worth a literal: four bytes of
// distance are two bits, which is what a byte more of length saves at least.
func better(longer, distance, later int) bool {
	return longer > 0 && 4*longer+bits.Len32(uint32(distance))-bits.Len32(uint32(later)) > 2
}
