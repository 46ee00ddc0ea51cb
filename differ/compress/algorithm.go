package compress

import (
	"bytes"
	"fmt"

	"github.com/containerd/errdefs"
)

// Algorithm names a compression format.
type Algorithm int

const (
	// Uncompressed is the identity. Detect also answers it for bytes it does
	// not know, because a tar has no magic number at its start.
	Uncompressed Algorithm = iota
	// Gzip is RFC 1952, readable and writable.
	Gzip
	// Zstd is RFC 8878, readable and writable.
	Zstd
	// Bzip2 is readable only.
	Bzip2
	// Xz is readable only.
	Xz
)

// magicLen is how many leading bytes Detect wants to see.
const magicLen = 6

// magics maps leading bytes to algorithms. Zstd streams may start with a
// skippable frame (zstd:chunked does), whose magic varies in its low nibble.
var magics = []struct {
	prefix    []byte
	algorithm Algorithm
}{
	{[]byte{0x1f, 0x8b, 0x08}, Gzip},
	{[]byte{0x28, 0xb5, 0x2f, 0xfd}, Zstd},
	{[]byte{'B', 'Z', 'h'}, Bzip2},
	{[]byte{0xfd, '7', 'z', 'X', 'Z', 0x00}, Xz},
}

// Detect names the algorithm of a stream from its first bytes (six are
// enough). Unknown bytes are Uncompressed.
func Detect(prefix []byte) Algorithm {
	for _, m := range magics {
		if bytes.HasPrefix(prefix, m.prefix) {
			return m.algorithm
		}
	}
	if len(prefix) >= 4 && prefix[0]&0xf0 == 0x50 && prefix[1] == 0x2a && prefix[2] == 0x4d && prefix[3] == 0x18 {
		return Zstd
	}
	return Uncompressed
}

// String returns the name used in media types and exporter options:
// "uncompressed", "gzip", "zstd", "bzip2", "xz".
func (a Algorithm) String() string {
	switch a {
	case Uncompressed:
		return "uncompressed"
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	case Bzip2:
		return "bzip2"
	case Xz:
		return "xz"
	}
	return fmt.Sprintf("algorithm(%d)", int(a))
}

// ParseAlgorithm is the inverse of Algorithm.String. Other names are refused
// with errdefs.ErrInvalidArgument.
func ParseAlgorithm(name string) (Algorithm, error) {
	for a := Uncompressed; a <= Xz; a++ {
		if a.String() == name {
			return a, nil
		}
	}
	return Uncompressed, fmt.Errorf("compression %q is unknown, use uncompressed, gzip or zstd: %w", name, errdefs.ErrInvalidArgument)
}
