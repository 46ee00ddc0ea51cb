package deflate

import (
	"encoding/binary"
	"slices"
)

// sequence is a run of literals and the match behind it: the number of literals
// in the high half, then 16 bits of the match length and 16 of the distance.
// Both are zero if there is no match.
type sequence uint64

func newSequence(literals, length, distance int) sequence {
	return sequence(literals)<<32 | sequence(length)<<16 | sequence(distance)
}

// writeBlock writes the sequences of the data that begins at pos in whichever
// way is smallest. e.block has their counts.
func (e *Encoder) writeBlock(pos, size int, seqs []sequence, final bool) {
	c := &e.block
	c.literals[endOfBlock] = 1
	e.literals.build(c.literals[:], maxCodeBits)
	e.dists.build(c.dists[:], maxCodeBits)
	e.header.prepare(&e.literals, &e.dists)
	extra := c.extraBits()
	own := extra + c.codeBits(&e.literals, &e.dists) + e.header.size
	fixed := extra + c.codeBits(fixedLiterals, fixedDists)
	last := uint64(0)
	if final {
		last = 1
	}
	switch {
	case storedBits(size) <= min(own, fixed):
		e.bits.stored(e.window.data[pos:pos+size], final)
	case fixed <= own:
		e.bits.put(last|1<<1, 3)
		e.emit(pos, seqs, fixedLiterals, fixedDists, fixed)
	default:
		e.bits.put(last|2<<1, 3)
		e.header.write(&e.bits)
		e.emit(pos, seqs, &e.literals, &e.dists, own)
	}
}

// emit writes the sequences and the end of the block, which take size bits.
func (e *Encoder) emit(pos int, seqs []sequence, literals, dists *code, size int) {
	var t emitTables
	t.fill(literals, dists)
	start := len(e.bits.out)
	e.bits.out = slices.Grow(e.bits.out, size/8+2*8)
	out := e.bits.out[:start+size/8+2*8]
	at, acc, fill := start, e.bits.acc, e.bits.fill
	for _, s := range seqs {
		run := int(s >> 32)
		bytes := e.window.data[pos : pos+run]
		pos += run
		for ; len(bytes) >= 3; bytes = bytes[3:] {
			// Three have 45 bits at most, and there were less than eight.
			a, b, c := t.literals[bytes[0]], t.literals[bytes[1]], t.literals[bytes[2]]
			acc |= uint64(a>>8) << (fill & 63)
			fill += uint(a & 0xff)
			acc |= uint64(b>>8) << (fill & 63)
			fill += uint(b & 0xff)
			acc |= uint64(c>>8) << (fill & 63)
			fill += uint(c & 0xff)
			binary.LittleEndian.PutUint64(out[at:at+8], acc)
			at += int(fill >> 3)
			acc >>= fill & 56
			fill &= 7
		}
		for _, l := range bytes {
			a := t.literals[l]
			acc |= uint64(a>>8) << (fill & 63)
			fill += uint(a & 0xff)
		}
		binary.LittleEndian.PutUint64(out[at:at+8], acc)
		at += int(fill >> 3)
		acc >>= fill & 56
		fill &= 7
		length, distance := int(s>>16&0xffff), uint32(s&0xffff)
		if length == 0 {
			continue
		}
		pos += length
		// Twenty bits and twenty-eight at most.
		a := t.lengths[length]
		acc |= uint64(a>>8) << (fill & 63)
		fill += uint(a & 0xff)
		symbol := distSymbol(distance)
		a, extra := t.dists[symbol], distExtra(symbol)
		acc |= uint64(a>>8) << (fill & 63)
		fill += uint(a & 0xff)
		acc |= uint64((distance-1)&(1<<extra-1)) << (fill & 63)
		fill += uint(extra)
		binary.LittleEndian.PutUint64(out[at:at+8], acc)
		at += int(fill >> 3)
		acc >>= fill & 56
		fill &= 7
	}
	e.bits.out, e.bits.acc, e.bits.fill = out[:at], acc, fill
	e.bits.put(uint64(literals.bits[endOfBlock]), uint(literals.size[endOfBlock]))
}

// emitTables has what to write for a literal, a match length and a distance's
// symbol: the bits, those extra to a length included, above a byte that tells
// how many.
type emitTables struct {
	literals [256]uint32
	lengths  [maxMatch + 1]uint32
	dists    [32]uint32
}

// fill makes the tables of the codes.
func (t *emitTables) fill(literals, dists *code) {
	for s := range t.literals {
		t.literals[s] = uint32(literals.bits[s])<<8 | uint32(literals.size[s])
	}
	for length := 3; length <= maxMatch; length++ {
		symbol := lengthSymbols[length]
		size := literals.size[firstLength+int(symbol)]
		v := uint32(literals.bits[firstLength+int(symbol)]) | uint32(length-int(lengthBase[symbol]))<<size
		t.lengths[length] = v<<8 | uint32(size+lengthExtra[symbol])
	}
	for s := range distCodes {
		t.dists[s] = uint32(dists.bits[s])<<8 | uint32(dists.size[s])
	}
}
