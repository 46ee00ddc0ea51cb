package layerindex

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// withChecksum appends the right checksum to body.
func withChecksum(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}
