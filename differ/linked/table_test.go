package linked

import (
	"bytes"
	"hash/crc32"
	"reflect"
	"testing"

	"encoding/binary"
)

// TestTable checks that tables survive a round trip and damaged ones do not.
func TestTable(t *testing.T) {
	want := &table{size: 100_000, pairs: []pair{{512, 40_000}, {0, 33_000}}, rest: 100_000 - 512 - 73_000}
	data := want.encode()
	got, err := decodeTable(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i]++
		if _, err := decodeTable(bad); err == nil {
			t.Errorf("byte %d may be anything", i)
		}
		if _, err := decodeTable(data[:i]); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
}

// FuzzTable decodes anything with a valid checksum: no panic, and what is
// accepted adds up.
func FuzzTable(f *testing.F) {
	seed := (&table{size: 74_000, pairs: []pair{{512, 40_000}, {0, 33_000}}, rest: 488}).encode()
	f.Add(seed[len(tableMagic) : len(seed)-crc32.Size])
	f.Add([]byte{5, 0, 5})
	f.Add(bytes.Repeat([]byte{0xff}, 30))
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(tableMagic), body...)
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
		tab, err := decodeTable(data)
		if err != nil {
			return
		}
		sum := tab.rest
		for _, p := range tab.pairs {
			sum += p.literal + p.link
		}
		if sum != tab.size {
			t.Errorf("parts have %d bytes, size is %d", sum, tab.size)
		}
	})
}
