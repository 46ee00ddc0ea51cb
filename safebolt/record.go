package safebolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
)

// The layout of a bbolt page header and meta, format version 2. Only these few facts of the format are used.
const (
	pageHeaderLen = 16
	metaLen       = 64
	metaFlag      = 0x04
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
)

// The layout of one slot of the record file, little endian: magic, sequence, boot id, meta, CRC-32C of all before it.
// Slots start slotSpacing bytes apart so that no write of one can tear the other.
const (
	slotMagic   = "kilnsafe"
	slotSpacing = 4096
	bootIDLen   = 36
	slotLen     = len(slotMagic) + 8 + bootIDLen + metaLen + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meta is the part of a bbolt meta page behind the page header, in the machine's byte order as bbolt writes it.
type meta [metaLen]byte

func (m *meta) pageSize() int64 { return int64(binary.NativeEndian.Uint32(m[8:])) }
func (m *meta) txid() uint64    { return binary.NativeEndian.Uint64(m[48:]) }

// valid reports whether bbolt itself would accept the meta.
func (m *meta) valid() bool {
	if binary.NativeEndian.Uint32(m[0:]) != boltMagic || binary.NativeEndian.Uint32(m[4:]) != boltVersion {
		return false
	}
	sum := fnv.New64a()
	sum.Write(m[:56])
	return sum.Sum64() == binary.NativeEndian.Uint64(m[56:])
}

// readMetas returns the valid metas of a database file by slot; a slot without a valid meta is nil. The page size
// is needed to find slot 1 and is taken from slot 0, or from fallback where slot 0 is damaged.
func readMetas(f io.ReaderAt, fallback int64) [2]*meta {
	var out [2]*meta
	size := fallback
	for i := range out {
		m := new(meta)
		if _, err := f.ReadAt(m[:], int64(i)*size+pageHeaderLen); err != nil || !m.valid() {
			continue
		}
		out[i] = m
		if i == 0 {
			size = m.pageSize()
		}
	}
	return out
}

// newestMeta returns the meta that bbolt would open the file with, or nil.
func newestMeta(metas [2]*meta) *meta {
	switch {
	case metas[0] == nil:
		return metas[1]
	case metas[1] == nil || metas[0].txid() >= metas[1].txid():
		return metas[0]
	default:
		return metas[1]
	}
}

// writeMetas puts m into both meta pages and syncs, which makes the file open in m's state. It may be cut short and
// repeated: until both pages are whole the record still names m.
func writeMetas(f *os.File, m *meta) error {
	for slot := range int64(2) {
		var page [pageHeaderLen + metaLen]byte
		binary.NativeEndian.PutUint64(page[0:], uint64(slot))
		binary.NativeEndian.PutUint16(page[8:], metaFlag)
		copy(page[pageHeaderLen:], m[:])
		if _, err := f.WriteAt(page[:], slot*m.pageSize()); err != nil {
			return fmt.Errorf("restore meta page %d: %w", slot, err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync restored meta pages: %w", err)
	}
	return nil
}

// record says which state is safe and in which boot that was written.
type record struct {
	sequence uint64
	bootID   string // "" makes the next Open go back to meta whatever boot it runs in
	meta     meta
}

// encode lays the record out as one slot.
func (r *record) encode() []byte {
	b := make([]byte, 0, slotLen)
	b = append(b, slotMagic...)
	b = binary.LittleEndian.AppendUint64(b, r.sequence)
	var boot [bootIDLen]byte
	copy(boot[:], r.bootID)
	b = append(b, boot[:]...)
	b = append(b, r.meta[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeRecord reads one slot; it returns nil for a slot that is empty, torn or foreign.
func decodeRecord(b []byte) *record {
	if len(b) != slotLen || string(b[:len(slotMagic)]) != slotMagic {
		return nil
	}
	body, sum := b[:slotLen-4], binary.LittleEndian.Uint32(b[slotLen-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil
	}
	r := &record{sequence: binary.LittleEndian.Uint64(b[len(slotMagic):])}
	boot := b[len(slotMagic)+8:][:bootIDLen]
	for len(boot) > 0 && boot[len(boot)-1] == 0 {
		boot = boot[:len(boot)-1]
	}
	r.bootID = string(boot)
	copy(r.meta[:], b[len(slotMagic)+8+bootIDLen:])
	if !r.meta.valid() {
		return nil
	}
	return r
}

// recordFile is the two-slot file beside the database. Its length never changes after the first write, so that
// fdatasync has no file metadata to write.
type recordFile struct {
	f    *os.File
	last record // what the newest slot holds; its sequence is 0 when the file held none
}

// openRecordFile opens or creates the file and reads its newest whole slot.
func openRecordFile(path string) (*recordFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open safe point record: %w", err)
	}
	rf := &recordFile{f: f}
	for slot := range int64(2) {
		buf := make([]byte, slotLen)
		if _, err := f.ReadAt(buf, slot*slotSpacing); err != nil {
			if errors.Is(err, io.EOF) {
				continue
			}
			f.Close()
			return nil, fmt.Errorf("read safe point record: %w", err)
		}
		if r := decodeRecord(buf); r != nil && r.sequence > rf.last.sequence {
			rf.last = *r
		}
	}
	return rf, nil
}

// write stores a new record in the slot that does not hold the newest one; sync makes it durable before return.
func (rf *recordFile) write(bootID string, m *meta, sync bool) error {
	next := record{sequence: rf.last.sequence + 1, bootID: bootID, meta: *m}
	if next.sequence == 1 {
		if err := rf.f.Truncate(2 * slotSpacing); err != nil {
			return fmt.Errorf("size safe point record: %w", err)
		}
		// Not every file system can allocate; there, a full disk may refuse the second record.
		_ = allocate(rf.f, 0, 2*slotSpacing)
	}
	if _, err := rf.f.WriteAt(next.encode(), int64(next.sequence%2)*slotSpacing); err != nil {
		return fmt.Errorf("write safe point record: %w", err)
	}
	if sync {
		if err := datasync(rf.f); err != nil {
			return fmt.Errorf("sync safe point record: %w", err)
		}
	}
	rf.last = next
	return nil
}
