package deflate

import "math/bits"

// lengthSymbols has the symbol of each match length, less firstLength;
// lengthBase and lengthExtra have of each symbol the least length and how many
// bits follow for what is above it.
var lengthSymbols, lengthBase, lengthExtra = lengthTables()

func lengthTables() (symbols [maxMatch + 1]uint8, base [literalCodes - firstLength]uint16, extra [literalCodes - firstLength]uint8) {
	length := 3
	for s := range base {
		if s >= 8 {
			extra[s] = uint8(s/4 - 1)
		}
		if s == len(base)-1 {
			// The longest has a symbol of its own, cut off the range before it.
			length, extra[s] = maxMatch, 0
		}
		base[s] = uint16(length)
		for range 1 << extra[s] {
			if length <= maxMatch {
				symbols[length] = uint8(s)
			}
			length++
		}
	}
	return symbols, base, extra
}

// distSymbol returns the symbol of a distance, by its highest bit and the one
// below.
func distSymbol(distance uint32) uint32 {
	d := distance - 1
	if d < 4 {
		return d
	}
	high := uint32(bits.Len32(d)) - 1
	return high<<1 | d>>(high-1)&1
}

// distExtra returns how many bits follow the symbol of a distance.
func distExtra(symbol uint32) uint32 {
	return max(symbol, 2)/2 - 1
}
