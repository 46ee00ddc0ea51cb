package deflate

const (
	metaCodes   = 19
	maxMetaBits = 7
	repeat      = 16 // the size before, three to six times
	fewZeros    = 17 // up to ten
	manyZeros   = 18 // up to 138
)

// metaOrder is the order in which the sizes of the meta code are sent.
var metaOrder = [metaCodes]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// metaExtra is how many bits follow a symbol of the meta code.
var metaExtra = [metaCodes]uint8{16: 2, 17: 3, 18: 7}

// header describes the codes of a block: the sizes of all symbols as one list,
// repetitions shortened, with a code of its own.
type header struct {
	size int // in bits

	literals, dists, metas int // how many sizes are sent
	meta                   code
	list                   [literalCodes + distCodes]uint16 // extra bits above, symbols of meta below
	length                 int                              // of list
	counts                 [metaCodes]uint32
}

// prepare makes the description.
func (h *header) prepare(literals, dists *code) {
	h.literals, h.dists = literalCodes, distCodes
	for h.literals > firstLength && literals.size[h.literals-1] == 0 {
		h.literals--
	}
	for h.dists > 1 && dists.size[h.dists-1] == 0 {
		h.dists--
	}
	var sizes [literalCodes + distCodes]uint8
	n := copy(sizes[:], literals.size[:h.literals])
	n += copy(sizes[n:], dists.size[:h.dists])
	h.shorten(sizes[:n])
	h.meta.build(h.counts[:], maxMetaBits)
	h.metas = metaCodes
	for h.metas > 4 && h.meta.size[metaOrder[h.metas-1]] == 0 {
		h.metas--
	}
	h.size = 14 + 3*h.metas
	for s, n := range h.counts {
		h.size += int(n) * int(h.meta.size[s]+metaExtra[s])
	}
}

// shorten makes the list and counts its symbols.
func (h *header) shorten(sizes []uint8) {
	h.length = 0
	h.counts = [metaCodes]uint32{}
	for i := 0; i < len(sizes); {
		v := sizes[i]
		run := 1
		for i+run < len(sizes) && sizes[i+run] == v {
			run++
		}
		i += run
		if v != 0 {
			h.add(int(v), 0)
			run--
		}
		for run >= 3 {
			n := 0
			switch {
			case v != 0:
				n = min(run, 6)
				h.add(repeat, n-3)
			case run <= 10:
				n = run
				h.add(fewZeros, n-3)
			default:
				n = min(run, 138)
				h.add(manyZeros, n-11)
			}
			run -= n
		}
		for range run {
			h.add(int(v), 0)
		}
	}
}

// add appends to the list.
func (h *header) add(symbol, extra int) {
	h.counts[symbol]++
	h.list[h.length] = uint16(extra)<<8 | uint16(symbol)
	h.length++
}

// write writes what was prepared.
func (h *header) write(b *bitWriter) {
	b.put(uint64(h.literals-firstLength)|uint64(h.dists-1)<<5|uint64(h.metas-4)<<10, 14)
	for _, s := range metaOrder[:h.metas] {
		b.put(uint64(h.meta.size[s]), 3)
	}
	for _, item := range h.list[:h.length] {
		s := item & 0xff
		size := h.meta.size[s]
		b.put(uint64(h.meta.bits[s])|uint64(item>>8)<<size, uint(size+metaExtra[s]))
	}
}
