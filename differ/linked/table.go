package linked

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
)

// tableMagic starts a table, the version included.
const tableMagic = "KLLB\x01"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTable is what every damaged table answers.
var errTable = errors.New("table of a linked blob is damaged")

// pair is some literal bytes followed by a link, in bytes.
type pair struct{ literal, link int64 }

// table is the order of a blob's parts.
type table struct {
	size  int64
	pairs []pair
	rest  int64
}

// encode returns the form on disk.
func (t *table) encode() []byte {
	b := []byte(tableMagic)
	number := func(n int64) { b = binary.AppendUvarint(b, uint64(n)) }
	number(t.size)
	number(int64(len(t.pairs)))
	for _, p := range t.pairs {
		number(p.literal)
		number(p.link)
	}
	number(t.rest)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeTable accepts what encode writes and whose parts add up.
func decodeTable(b []byte) (*table, error) {
	body := len(b) - crc32.Size
	if body < len(tableMagic) || string(b[:len(tableMagic)]) != tableMagic ||
		crc32.Checksum(b[:body], castagnoli) != binary.LittleEndian.Uint32(b[body:]) {
		return nil, errTable
	}
	b = b[len(tableMagic):body]
	bad := false
	number := func() int64 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > math.MaxInt64 {
			bad = true
			return 0
		}
		b = b[used:]
		return int64(n)
	}
	t := &table{size: number()}
	count := number()
	// Each pair takes two bytes at least: that bounds what is allocated.
	if bad || count > int64(len(b)/2) {
		return nil, errTable
	}
	t.pairs = make([]pair, count)
	left := t.size
	for i := range t.pairs {
		p := pair{number(), number()}
		if bad || p.literal > left || p.link > left-p.literal {
			return nil, errTable
		}
		left -= p.literal + p.link
		t.pairs[i] = p
	}
	t.rest = number()
	if bad || t.rest != left || len(b) > 0 {
		return nil, errTable
	}
	return t, nil
}

// readTable reads a table's file.
func readTable(path string) (*table, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := decodeTable(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// readSize reads no more of a table than the size.
func readSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, len(tableMagic)+binary.MaxVarintLen64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("%s: %w: %w", path, errTable, err)
	}
	if n < len(tableMagic) || string(head[:len(tableMagic)]) != tableMagic {
		return 0, fmt.Errorf("%s: %w", path, errTable)
	}
	size, used := binary.Uvarint(head[len(tableMagic):n])
	if used <= 0 || size > math.MaxInt64 {
		return 0, fmt.Errorf("%s: %w", path, errTable)
	}
	return int64(size), nil
}
