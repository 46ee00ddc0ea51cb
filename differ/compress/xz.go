package compress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/containerd/errdefs"
	"github.com/ulikunitz/xz/lzma"
)

// xzFilterLZMA2 is the only filter decoded: tars in xz use nothing else.
const xzFilterLZMA2 = 0x21

// Container constants of the xz format, version 1.2.1.
const (
	xzHeaderLen  = 12
	xzFooterTail = 8 // footer bytes after its own CRC: backward size, flags, magic
	xzMaxVarint  = 9
)

// errXz is wrapped by every format error of an xz stream.
var errXz = fmt.Errorf("xz stream is damaged: %w", errdefs.ErrInvalidArgument)

// xzReader decodes the xz container itself and leaves LZMA2 to a library. It
// exists for one reason: each block header names a dictionary of up to 4 GiB
// which a ready-made reader allocates without asking, so that a 100-byte
// archive could exhaust the daemon's memory.
type xzReader struct {
	r         *countReader
	maxDict   int64
	checkKind byte
	check     hash.Hash // of the current block, nil when the stream has none
	block     io.Reader // nil between blocks
	started   bool
	err       error
}

// newXzReader reads concatenated xz streams from r.
func newXzReader(r *bufio.Reader, maxDict int64) *xzReader {
	return &xzReader{r: &countReader{r: r}, maxDict: maxDict}
}

// Read returns decoded bytes; integrity checks are verified as blocks end.
func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			if x.err = x.nextBlock(); x.err != nil {
				break
			}
		}
		n, err := x.block.Read(p)
		if x.check != nil {
			x.check.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			x.block = nil
			err = x.endBlock()
		} else if err != nil {
			err = fmt.Errorf("decode LZMA2: %w: %w", err, errXz)
		}
		x.err = err
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// nextBlock reads up to the start of the next block's data, over the end of one
// stream and the start of the next if need be. io.EOF means a clean end.
func (x *xzReader) nextBlock() error {
	for {
		if !x.started {
			if err := x.streamHeader(); err != nil {
				return err
			}
			x.started = true
		}
		size, err := x.r.ReadByte()
		if err != nil {
			return xzErr("read block header", err)
		}
		if size != 0 {
			return x.startBlock(size)
		}
		if err := x.index(); err != nil {
			return err
		}
		x.started = false
		if err := x.streamPadding(); err != nil {
			return err
		}
	}
}

// streamHeader reads the 12 bytes every stream starts with.
func (x *xzReader) streamHeader() error {
	var head [xzHeaderLen]byte
	if _, err := io.ReadFull(x.r, head[:]); err != nil {
		return xzErr("read stream header", err)
	}
	if Detect(head[:]) != Xz || head[6] != 0 || head[7]&0xf0 != 0 {
		return fmt.Errorf("stream header: %w", errXz)
	}
	if crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return fmt.Errorf("stream header checksum: %w", errXz)
	}
	x.checkKind = head[7]
	switch x.checkKind {
	case 0, 1, 4, 10:
		return nil
	}
	return fmt.Errorf("integrity check kind %d is not supported: %w", x.checkKind, errXz)
}

// startBlock parses a block header whose size byte was just read.
func (x *xzReader) startBlock(size byte) error {
	head := make([]byte, (int(size)+1)*4)
	head[0] = size
	if _, err := io.ReadFull(x.r, head[1:]); err != nil {
		return xzErr("read block header", err)
	}
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return fmt.Errorf("block header checksum: %w", errXz)
	}
	dict, err := xzDictionary(body[1:])
	if err != nil {
		return err
	}
	// Attack: a block header that asks for gigabytes of dictionary.
	if dict > x.maxDict {
		return fmt.Errorf("xz dictionary of %d bytes exceeds the limit of %d: %w", dict, x.maxDict, errdefs.ErrInvalidArgument)
	}
	x.r.n = 0
	lr, err := lzma.Reader2Config{DictCap: int(max(dict, lzma.MinDictCap))}.NewReader2(x.r)
	if err != nil {
		return xzErr("start LZMA2", err)
	}
	x.block, x.check = lr, newXzCheck(x.checkKind)
	return nil
}

// xzDictionary reads flags, optional sizes and the one filter of a block
// header and returns the dictionary size.
func xzDictionary(body []byte) (int64, error) {
	flags := body[0]
	if flags&0x3f != 0 {
		return 0, fmt.Errorf("block has filters besides LZMA2: %w", errXz)
	}
	r := bytes.NewReader(body[1:])
	for _, present := range []byte{flags & 0x40, flags & 0x80} {
		if present == 0 {
			continue
		}
		if _, err := xzVarint(r); err != nil {
			return 0, err
		}
	}
	id, err := xzVarint(r)
	if err != nil {
		return 0, err
	}
	props, err := xzVarint(r)
	if err != nil {
		return 0, err
	}
	if id != xzFilterLZMA2 || props != 1 {
		return 0, fmt.Errorf("block filter %#x is not LZMA2: %w", id, errXz)
	}
	code, err := r.ReadByte()
	if err != nil {
		return 0, xzErr("read filter properties", err)
	}
	dict, err := lzma.DecodeDictCap(code)
	if err != nil {
		return 0, fmt.Errorf("dictionary size: %w: %w", err, errXz)
	}
	return dict, nil
}

// endBlock reads the padding after the data and verifies the check.
func (x *xzReader) endBlock() error {
	if err := x.skipZero(int(-x.r.n & 3)); err != nil {
		return err
	}
	if x.check == nil {
		return nil
	}
	want := x.check.Sum(nil)
	// CRCs are stored little-endian, Go's Sum answers big-endian.
	if x.checkKind != 10 {
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(x.r, got); err != nil {
		return xzErr("read block check", err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("block check does not match its data: %w", errXz)
	}
	return nil
}

// index skips the index and the footer. Block sizes were already known from the
// data; the checksums in between protect nothing that is used here.
func (x *xzReader) index() error {
	x.r.n = 1 // the indicator byte counts for the padding
	records, err := xzVarint(x.r)
	if err != nil {
		return err
	}
	for range records {
		for range 2 {
			if _, err := xzVarint(x.r); err != nil {
				return err
			}
		}
	}
	if err := x.skipZero(int(-x.r.n & 3)); err != nil {
		return err
	}
	var tail [4 + 4 + xzFooterTail]byte // index CRC, footer CRC, rest of footer
	if _, err := io.ReadFull(x.r, tail[:]); err != nil {
		return xzErr("read footer", err)
	}
	if tail[14] != 'Y' || tail[15] != 'Z' {
		return fmt.Errorf("footer: %w", errXz)
	}
	return nil
}

// streamPadding skips zero words between streams; io.EOF is the end of all.
func (x *xzReader) streamPadding() error {
	for {
		word, err := x.r.r.Peek(4)
		if len(word) == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		if err != nil {
			return xzErr("read stream padding", err)
		}
		if binary.LittleEndian.Uint32(word) != 0 {
			return nil
		}
		if err := x.skipZero(4); err != nil {
			return err
		}
	}
}

// skipZero reads n bytes that must be zero.
func (x *xzReader) skipZero(n int) error {
	for range n {
		b, err := x.r.ReadByte()
		if err != nil {
			return xzErr("read padding", err)
		}
		if b != 0 {
			return fmt.Errorf("padding is not zero: %w", errXz)
		}
	}
	return nil
}

// newXzCheck returns the hash a stream's check kind asks for.
func newXzCheck(kind byte) hash.Hash {
	switch kind {
	case 1:
		return crc32.NewIEEE()
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		return sha256.New()
	}
	return nil
}

// xzVarint reads a little-endian base-128 number of at most nine bytes.
func xzVarint(r io.ByteReader) (uint64, error) {
	var v uint64
	for i := range xzMaxVarint {
		b, err := r.ReadByte()
		if err != nil {
			return 0, xzErr("read number", err)
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("number is too long: %w", errXz)
}

// xzErr wraps err; an early end is damage, never a clean end.
func xzErr(what string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: %w: %w", what, err, errXz)
}

// countReader counts bytes for the four-byte alignment of the container.
type countReader struct {
	r *bufio.Reader
	n int64
}

// Read counts what it reads.
func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte counts one byte. The LZMA2 decoder asks for bytes one at a time and
// must find this method, or it would read ahead through a buffer of its own.
func (c *countReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
