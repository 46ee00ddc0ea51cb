package deflate

import (
	"math/bits"
	"slices"
)

const (
	maxCodeBits  = 15
	literalCodes = 286 // bytes, the end of a block and match lengths
	distCodes    = 30
	endOfBlock   = 256
	firstLength  = 257
)

// code is a prefix code: for each symbol its bits, the first lowest, and how
// many. A symbol of no bits has none.
type code struct {
	bits [literalCodes]uint16
	size [literalCodes]uint8
}

// build makes the best code for the counts with no more than limit bits each.
// It has two symbols at least: some decoders refuse a code that is not full.
func (c *code) build(counts []uint32, limit int) {
	var order [literalCodes]uint64
	used := 0
	for s, n := range counts {
		c.size[s], c.bits[s] = 0, 0
		if n > 0 {
			order[used] = uint64(n)<<16 | uint64(s)
			used++
		}
	}
	for s := 0; used < 2; s++ {
		if counts[s] == 0 {
			order[used] = 1<<16 | uint64(s)
			used++
		}
	}
	leaves := order[:used]
	slices.Sort(leaves)
	perSize := treeDepths(leaves, limit)
	// The rarest symbols come first and get the longest codes.
	next := 0
	for size := limit; size > 0; size-- {
		for range perSize[size] {
			c.size[uint16(leaves[next])] = uint8(size)
			next++
		}
	}
	var first [maxCodeBits + 2]uint16
	for size := 1; size <= limit; size++ {
		first[size+1] = (first[size] + perSize[size]) << 1
	}
	for s := range counts {
		if size := c.size[s]; size > 0 {
			c.bits[s] = bits.Reverse16(first[size]) >> (16 - size)
			first[size]++
		}
	}
}

// treeDepths returns how many leaves of a Huffman tree are at each depth. The
// leaves come by rising weight, which is above their low 16 bits. Leaves that
// would be deeper than limit are moved up, others down for that.
func treeDepths(leaves []uint64, limit int) (perDepth [maxCodeBits + 1]uint16) {
	// Two queues: the leaves, and the nodes in the order they are made, which is
	// by rising weight as well. Each node takes the two lightest of all.
	var weight [literalCodes]uint64
	var parent [literalCodes]uint16 // of nodes
	var above [literalCodes]uint16  // of leaves
	leaf, node := 0, 0
	for made := 0; made < len(leaves)-1; made++ {
		for range 2 {
			if node == made || leaf < len(leaves) && leaves[leaf]>>16 <= weight[node] {
				weight[made] += leaves[leaf] >> 16
				above[leaf] = uint16(made)
				leaf++
			} else {
				weight[made] += weight[node]
				parent[node] = uint16(made)
				node++
			}
		}
	}
	var depth [literalCodes]uint8
	root := len(leaves) - 2
	for i := root - 1; i >= 0; i-- {
		depth[i] = depth[parent[i]] + 1
	}
	full := 0 // in units of the deepest code
	for i := range leaves {
		d := min(int(depth[above[i]])+1, limit)
		perDepth[d]++
		full += 1 << (limit - d)
	}
	// Those that were moved up leave too little room: one of the longest codes
	// that are shorter than the limit becomes one bit longer, and one of the
	// limit joins it there.
	for full > 1<<limit {
		d := limit - 1
		for perDepth[d] == 0 {
			d--
		}
		perDepth[d]--
		perDepth[d+1] += 2
		perDepth[limit]--
		full--
	}
	return perDepth
}

// fixedLiterals and fixedDists are the codes that need no description.
var fixedLiterals, fixedDists = fixedCodes()

func fixedCodes() (literals, dists *code) {
	literals, dists = &code{}, &code{}
	for s := range literalCodes {
		size, v := uint8(8), 0x30+s
		switch {
		case s >= 280:
			v = 0xc0 + s - 280
		case s >= 256:
			size, v = 7, s-256
		case s >= 144:
			size, v = 9, 0x190+s-144
		}
		literals.size[s] = size
		literals.bits[s] = bits.Reverse16(uint16(v)) >> (16 - size)
	}
	for s := range distCodes {
		dists.size[s] = 5
		dists.bits[s] = bits.Reverse16(uint16(s)) >> 11
	}
	return literals, dists
}
