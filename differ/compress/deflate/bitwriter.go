package deflate

import "math"

// bitWriter collects bits, the first lowest.
type bitWriter struct {
	out  []byte
	acc  uint64
	fill uint // of acc, less than eight between calls
}

// put appends up to 32 bits.
func (b *bitWriter) put(v uint64, n uint) {
	b.acc |= v << b.fill
	b.fill += n
	for b.fill >= 8 {
		b.out = append(b.out, byte(b.acc))
		b.acc >>= 8
		b.fill -= 8
	}
}

// align fills the byte.
func (b *bitWriter) align() {
	if b.fill > 0 {
		b.put(0, 8-b.fill)
	}
}

// stored writes data as it is. No data is a mark that ends at a whole byte.
func (b *bitWriter) stored(data []byte, final bool) {
	for {
		n := min(len(data), math.MaxUint16)
		last := uint64(0)
		if final && n == len(data) {
			last = 1
		}
		b.put(last, 3)
		b.align()
		b.put(uint64(n)|uint64(^uint16(n))<<16, 32)
		b.out = append(b.out, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}

// storedBits is what stored needs at most.
func storedBits(size int) int {
	return 8*size + (size/math.MaxUint16+1)*(3+7+32)
}
