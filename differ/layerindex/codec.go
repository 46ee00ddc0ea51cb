package layerindex

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/containerd/errdefs"
)

// MediaType names an encoded index in descriptors and labels.
const MediaType = "application/vnd.kiln.layerindex.v1"

const (
	magic   = "KLIX"
	version = 1

	maxPath  = 4096    // PATH_MAX
	maxXattr = 1 << 16 // XATTR_SIZE_MAX
	// maxXattrs is far above what a file system holds in one inode.
	maxXattrs = 1024
	// minEntry is the least number of bytes of an entry: it bounds what a count
	// can make the decoder allocate.
	minEntry = 4
	// MaxEntries bounds a layer; fourteen million files is beyond every image.
	MaxEntries = 1 << 24

	flagOpaque = 1
	flagXattrs = 2
	flagLink   = 4
)

// ErrFormat is wrapped by every error of Decode, together with
// errdefs.ErrInvalidArgument.
var ErrFormat = fmt.Errorf("layer index is damaged: %w", errdefs.ErrInvalidArgument)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the canonical bytes of the index.
func (x *Index) Encode() []byte {
	b := make([]byte, 0, 64+len(x.entries)*128)
	b = append(b, magic...)
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(x.entries)))
	prev := ""
	for i := range x.entries {
		b = appendEntry(b, &x.entries[i], prev)
		prev = x.entries[i].Path
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// WriteTo writes the encoded index.
func (x *Index) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(x.Encode())
	return int64(n), err
}

// appendEntry encodes one entry after the entry of path prev.
func appendEntry(b []byte, e *Entry, prev string) []byte {
	shared := 0
	for shared < len(prev) && shared < len(e.Path) && prev[shared] == e.Path[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = appendString(b, e.Path[shared:])
	b = append(b, byte(e.Kind), e.flags())
	if e.Kind == Whiteout {
		return b
	}
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	b = binary.AppendVarint(b, e.ModTime)
	if e.Kind == Regular {
		b = binary.AppendUvarint(b, uint64(e.Size))
	}
	if e.LinkName != "" {
		b = appendString(b, e.LinkName)
	}
	if e.Kind == CharDevice || e.Kind == BlockDevice {
		b = binary.AppendUvarint(b, uint64(e.DevMajor))
		b = binary.AppendUvarint(b, uint64(e.DevMinor))
	}
	if len(e.Xattrs) > 0 {
		b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
		for _, x := range e.Xattrs {
			b = appendString(appendString(b, x.Key), x.Value)
		}
	}
	b = append(b, e.Digest[:]...)
	if e.Kind == Regular && e.Size > 0 {
		b = append(b, e.Content[:]...)
	}
	return b
}

// flags packs the optional parts of an entry.
func (e *Entry) flags() byte {
	var f byte
	if e.Opaque {
		f |= flagOpaque
	}
	if len(e.Xattrs) > 0 && e.Kind != Whiteout {
		f |= flagXattrs
	}
	if e.LinkName != "" && e.Kind != Whiteout {
		f |= flagLink
	}
	return f
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Decode parses an encoded index. It accepts only canonical bytes; the errors
// wrap ErrFormat. Memory stays within a small multiple of len(data).
func Decode(data []byte) (*Index, error) {
	if len(data) < len(magic)+1+1+4 || string(data[:len(magic)]) != magic {
		return nil, fmt.Errorf("magic: %w", ErrFormat)
	}
	if v := data[len(magic)]; v != version {
		return nil, fmt.Errorf("version %d, this program reads %d: %w", v, version, ErrFormat)
	}
	body, sum := data[:len(data)-4], data[len(data)-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(sum) {
		return nil, fmt.Errorf("checksum: %w", ErrFormat)
	}
	d := &decoder{data: body, pos: len(magic) + 1}
	x, err := d.index()
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w: %w", d.pos, err, ErrFormat)
	}
	return x, nil
}

// decoder reads from a byte slice; the first error sticks, so that callers check
// once per entry.
type decoder struct {
	data []byte
	pos  int
	err  error
}

// index reads count and entries.
func (d *decoder) index() (*Index, error) {
	count := d.uvarint(MaxEntries)
	if d.err == nil && count > uint64(len(d.data)-d.pos)/minEntry {
		return nil, fmt.Errorf("%d entries cannot fit in %d bytes", count, len(d.data)-d.pos)
	}
	x := &Index{}
	prev := ""
	for i := range count {
		e := d.entry(prev)
		if d.err != nil {
			return nil, d.err
		}
		if err := e.Validate(); err != nil {
			return nil, err
		}
		if i > 0 && ComparePaths(prev, e.Path) >= 0 {
			return nil, fmt.Errorf("entry %q does not follow %q", e.Path, prev)
		}
		prev = e.Path
		x.entries = append(x.entries, e)
	}
	if d.err == nil && d.pos != len(d.data) {
		d.err = fmt.Errorf("%d bytes follow the last entry", len(d.data)-d.pos)
	}
	return x, d.err
}

// entry reads one entry.
func (d *decoder) entry(prev string) Entry {
	var e Entry
	shared := int(d.uvarint(uint64(len(prev))))
	suffix := d.string(maxPath)
	if d.err != nil {
		return e
	}
	if shared < len(prev) && suffix != "" && suffix[0] == prev[shared] {
		d.fail("shared prefix is not maximal")
	}
	e.Path = prev[:shared] + suffix
	e.Kind = Kind(d.byte())
	flags := d.byte()
	if flags&^(flagOpaque|flagXattrs|flagLink) != 0 {
		d.fail("unknown flags")
	}
	e.Opaque = flags&flagOpaque != 0
	if e.Kind == Whiteout {
		if flags != 0 {
			d.fail("whiteout with flags")
		}
		return e
	}
	e.Mode = uint32(d.uvarint(0o7777))
	e.UID = uint32(d.uvarint(math.MaxUint32))
	e.GID = uint32(d.uvarint(math.MaxUint32))
	e.ModTime = d.varint()
	d.tail(&e, flags)
	return e
}

// tail reads the parts that depend on kind and flags, and the digests.
func (d *decoder) tail(e *Entry, flags byte) {
	if e.Kind == Regular {
		e.Size = int64(d.uvarint(math.MaxInt64))
	}
	if flags&flagLink != 0 {
		if e.LinkName = d.string(maxPath); e.LinkName == "" {
			d.fail("empty link name")
		}
	}
	if e.Kind == CharDevice || e.Kind == BlockDevice {
		e.DevMajor = uint32(d.uvarint(math.MaxUint32))
		e.DevMinor = uint32(d.uvarint(math.MaxUint32))
	}
	if flags&flagXattrs != 0 {
		d.xattrs(e)
	}
	copy(e.Digest[:], d.bytes(len(e.Digest)))
	switch {
	case e.Kind == Regular && e.Size > 0:
		copy(e.Content[:], d.bytes(len(e.Content)))
	case e.Kind == Regular:
		e.Content = EmptySum
	}
}

// xattrs reads a non-empty, ascending list of attributes.
func (d *decoder) xattrs(e *Entry) {
	count := d.uvarint(maxXattrs)
	if count == 0 {
		d.fail("empty attribute list")
	}
	for i := 0; i < int(count) && d.err == nil; i++ {
		x := Xattr{Key: d.string(maxPath), Value: d.string(maxXattr)}
		if i > 0 && e.Xattrs[i-1].Key >= x.Key {
			d.fail("attributes are not ascending")
		}
		e.Xattrs = append(e.Xattrs, x)
	}
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = errors.New(why)
	}
}

func (d *decoder) bytes(n int) []byte {
	if d.err != nil || n > len(d.data)-d.pos {
		d.fail("unexpected end")
		return nil
	}
	d.pos += n
	return d.data[d.pos-n : d.pos]
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number of at most limit, in its shortest form.
func (d *decoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.data[d.pos:])
	if n <= 0 || n > 1 && d.data[d.pos+n-1] == 0 {
		d.fail("bad number")
		return 0
	}
	if v > limit {
		d.fail(fmt.Sprintf("number %d is above %d", v, limit))
		return 0
	}
	d.pos += n
	return v
}

// varint reads a signed number (zigzag), in its shortest form.
func (d *decoder) varint() int64 {
	u := d.uvarint(math.MaxUint64)
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) string(limit uint64) string {
	return string(d.bytes(int(d.uvarint(limit))))
}

// Equal reports whether both indexes say the same.
func (x *Index) Equal(y *Index) bool {
	return slices.EqualFunc(x.entries, y.entries, func(a, b Entry) bool {
		return string(appendEntry(nil, &a, "")) == string(appendEntry(nil, &b, ""))
	})
}
