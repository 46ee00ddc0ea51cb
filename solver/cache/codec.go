package cache

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Stored values begin with a byte that says how they are encoded. Numbers are
// varints, strings have their length before them.
const codecVersion = 1

// Bounds of what is decoded; a damaged length must not allocate a fortune.
const (
	maxString = 4096
	maxInputs = 1 << 16
)

func encodeRecord(rec *solver.Record) []byte {
	b := []byte{codecVersion}
	b = appendString(b, rec.ResultID)
	b = appendString(b, rec.Key.ID().String())
	return binary.AppendVarint(b, rec.CreatedAt.UnixNano())
}

// decodeRecord returns a record whose Key is a stub.
func decodeRecord(data []byte) (*solver.Record, error) {
	d := newDecoder(data)
	rec := &solver.Record{ResultID: d.string()}
	rec.Key = stub(digest.Digest(d.string()), false)
	rec.CreatedAt = time.Unix(0, d.varint()).UTC()
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("decode cache record: %w", err)
	}
	if rec.Key.Digest == "" {
		return nil, fmt.Errorf("decode cache record: it has no key")
	}
	return rec, nil
}

// encodeStructure keeps the order of inputs, which is part of the identity.
func encodeStructure(s Structure) []byte {
	b := []byte{codecVersion}
	b = appendString(b, s.Digest.String())
	b = binary.AppendVarint(b, int64(s.Output))
	b = binary.AppendUvarint(b, uint64(len(s.Inputs)))
	for _, in := range s.Inputs {
		b = appendString(b, in.Selector.String())
		b = appendString(b, in.Key.String())
	}
	return b
}

func decodeStructure(data []byte) (Structure, error) {
	d := newDecoder(data)
	s := Structure{Digest: digest.Digest(d.string()), Output: int(d.varint())}
	n := d.uvarint()
	if n > maxInputs {
		d.fail("it has %d inputs", n)
	}
	for i := uint64(0); i < n && d.err == nil; i++ {
		s.Inputs = append(s.Inputs, Link{
			Selector: digest.Digest(d.string()),
			Key:      digest.Digest(d.string()),
		})
	}
	if err := d.end(); err != nil {
		return Structure{}, fmt.Errorf("decode cache key: %w", err)
	}
	return s, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads one value; after the first error it only returns zeros.
type decoder struct {
	data []byte
	err  error
}

func newDecoder(data []byte) *decoder {
	d := &decoder{data: data}
	if len(data) == 0 || data[0] != codecVersion {
		d.fail("unknown encoding")
		return d
	}
	d.data = data[1:]
	return d
}

// fail notes the first error and ends the input.
func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.data = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail("it ends early")
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail("it ends early")
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > maxString || n > uint64(len(d.data)) {
		d.fail("a string of %d bytes does not fit", n)
		return ""
	}
	s := string(d.data[:n])
	d.data = d.data[n:]
	return s
}

// end returns the first error; bytes left over are one, because they mean that
// the value is not what it is taken for.
func (d *decoder) end() error {
	if d.err == nil && len(d.data) > 0 {
		d.fail("%d bytes are left over", len(d.data))
	}
	return d.err
}
