package deflate

import (
	"encoding/binary"
	"math/bits"
)

const (
	// HistorySize is how far back a match can refer to.
	HistorySize = 32 << 10
	// MaxChunk is how many bytes are compressed in one pass. Longer data is
	// taken in pieces, each with the one before as history.
	MaxChunk = windowSize - HistorySize

	// windowSize is a power of two, so that an offset that was masked needs
	// no check of its bounds.
	windowSize = 1 << 20
	windowMask = windowSize - 1
	// overread is how many bytes behind the data are looked at: a match is
	// compared eight bytes at a time, and the data may end before it.
	overread = maxMatch + 2*8

	// minMatch is more than the three bytes the format allows: matches of three
	// are seldom smaller than their literals, and finding them takes time.
	minMatch = 4
	maxMatch = 258
	// niceMatch is a match that is taken without looking for a longer one.
	niceMatch = 64

	// Small tables stay in the caches of a busy machine: the near one with half
	// the rows takes a sixth less time and makes a thousandth more bytes.
	nearBits = 13
	farBits  = 14
	rowWays  = 4
)

// window holds a chunk behind its history, and where its sequences of bytes
// were seen.
//
// A row remembers the last four positions that fell into it, their low 16 bits
// in one word, the latest lowest: a row is read at once, its candidates do not
// wait for each other as those of a chain would, and adding one is a shift. A
// position that is too old looks like a nearer one, which costs a comparison
// that finds nothing, or a match as good as any.
type window struct {
	data [windowSize + overread]byte
	// near finds by four bytes, far by seven: what is long is not lost among the
	// many that share a beginning.
	near [1 << nearBits]uint64
	far  [1 << farBits]uint64
}

// fill takes the data and forgets what was there. Only the first windowSize
// bytes fit.
func (w *window) fill(data []byte) (size int) {
	// Rows of zeros refer to position zero, which is as good as any other.
	clear(w.near[:])
	clear(w.far[:])
	size = copy(w.data[:windowSize], data)
	// What is read behind the end must not depend on what was there before.
	clear(w.data[size : size+overread])
	return size
}

// load reads eight bytes.
func (w *window) load(pos int) uint64 {
	i := pos & windowMask
	return binary.LittleEndian.Uint64(w.data[i : i+8])
}

// nearRow is the row of what begins with the low four bytes of v.
func nearRow(v uint64) uint32 {
	return uint32(v) * 0x9e3779b1 >> (32 - nearBits)
}

// farRow is the row of what begins with the low seven bytes of v.
func farRow(v uint64) uint64 {
	return (v << 8) * 0x9e3779b97f4a7c15 >> (64 - farBits)
}

// note remembers a position.
func (w *window) note(pos int) {
	v := w.load(pos)
	n, f := nearRow(v), farRow(v)
	w.near[n] = w.near[n]<<16 | uint64(uint16(pos))
	w.far[f] = w.far[f]<<16 | uint64(uint16(pos))
}

// match notes pos and returns the longest match there that is longer than best,
// which must be less than maxMatch. Without one the length is best. A match may
// reach behind the data.
func (w *window) match(pos, best int) (length, distance int) {
	v := w.load(pos)
	n, f := nearRow(v), farRow(v)
	near, far := w.near[n], w.far[f]
	w.near[n] = near<<16 | uint64(uint16(pos))
	w.far[f] = far<<16 | uint64(uint16(pos))
	for range rowWays {
		d := int(uint16(pos) - uint16(far))
		if uint(d-1) >= HistorySize {
			break // and what follows is older
		}
		far >>= 16
		x := w.load(pos-d) ^ v
		if x != 0 {
			if n := bits.TrailingZeros64(x) >> 3; n > best {
				best, distance = n, d
			}
			continue
		}
		if best >= 8 && w.load(pos+best-7) != w.load(pos-d+best-7) {
			continue
		}
		if n := w.extend(pos, d); n > best {
			best, distance = n, d
			if n >= niceMatch {
				return best, distance
			}
		}
	}
	if best >= 8 {
		return best, distance
	}
	for range rowWays {
		d := int(uint16(pos) - uint16(near))
		if uint(d-1) >= HistorySize {
			break
		}
		near >>= 16
		x := w.load(pos-d) ^ v
		n := bits.TrailingZeros64(x) >> 3
		if x == 0 {
			n = w.extend(pos, d)
		}
		if n > best {
			best, distance = n, d
		}
	}
	return best, distance
}

// extend returns the length of a match of which eight bytes are known.
func (w *window) extend(pos, distance int) int {
	n := 8
	for n < maxMatch {
		if x := w.load(pos+n) ^ w.load(pos+n-distance); x != 0 {
			n += bits.TrailingZeros64(x) >> 3
			break
		}
		n += 8
	}
	return min(n, maxMatch)
}
