package deflate

import "math"

// counts tells how often each symbol is needed.
type counts struct {
	literals [literalCodes]uint32
	dists    [distCodes]uint32
}

// cost estimates the size of the symbols in bits with the best code, with its
// description but without the extra bits.
func (c *counts) cost() float64 {
	literals, kinds := entropy(c.literals[:])
	dists, more := entropy(c.dists[:])
	return literals + dists + float64(kinds+more)*kindOverhead + codeOverhead
}

// entropy returns the least size of the symbols in bits, and how many kinds
// there are.
func entropy(counts []uint32) (bits float64, kinds int) {
	total := uint32(0)
	for _, n := range counts {
		if n > 0 {
			kinds++
			total += n
			bits -= float64(n) * log2(n)
		}
	}
	return bits + float64(total)*log2(total), kinds
}

// codeOverhead and kindOverhead estimate the description of a code: what each has, and
// what each kind of symbol adds.
const (
	codeOverhead = 60
	kindOverhead = 3.2
)

// log2 is exact below the size of the table, and a few thousandths off above.
func log2(n uint32) float64 {
	shift := 0
	for n >= uint32(len(logs)) {
		n >>= 4
		shift += 4
	}
	return float64(logs[n]) + float64(shift)
}

var logs = func() (t [4096]float32) {
	for i := 1; i < len(t); i++ {
		t[i] = float32(math.Log2(float64(i)))
	}
	return t
}()

// add counts the sequences of the data that begins at pos.
func (c *counts) add(w *window, pos int, seqs []sequence) {
	for _, s := range seqs {
		run := int(s >> 32)
		for _, b := range w.data[pos : pos+run] {
			c.literals[b]++
		}
		pos += run
		if length := int(s >> 16 & 0xffff); length > 0 {
			c.literals[firstLength+int(lengthSymbols[length])]++
			c.dists[distSymbol(uint32(s&0xffff))]++
			pos += length
		}
	}
}

// merge adds what other counted.
func (c *counts) merge(other *counts) {
	for i, n := range other.literals {
		c.literals[i] += n
	}
	for i, n := range other.dists {
		c.dists[i] += n
	}
}

// codeBits is the size of the symbols with those codes.
func (c *counts) codeBits(literals, dists *code) int {
	size := 0
	for s, n := range c.literals {
		size += int(n) * int(literals.size[s])
	}
	for s, n := range c.dists {
		size += int(n) * int(dists.size[s])
	}
	return size
}

// extraBits is how many bits follow the symbols of lengths and distances.
func (c *counts) extraBits() int {
	size := 0
	for s, n := range c.literals[firstLength:] {
		size += int(n) * int(lengthExtra[s])
	}
	for s, n := range c.dists {
		size += int(n) * int(distExtra(uint32(s)))
	}
	return size
}
