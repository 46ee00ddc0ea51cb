package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/patternmatcher"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// MetadataFile is the file that lists the entries of a directory of which only
// some were transferred. It has, for each entry in path order, the length of
// its message in four bytes, least significant first, and the message.
const MetadataFile = ".fsutil-metadata"

const (
	// maxMetadata bounds the file, in bytes: it is made in memory.
	maxMetadata = 256 << 20
	// metadataDigest is an attribute that MetadataFile has in a Listing only,
	// with the digest of what is in it.
	metadataDigest = "kiln.digest"
	metadataPerm   = 0o644
)

// Metadata is a Handler that lists all entries in MetadataFile and transfers
// only those that match, with the directories they are in.
type Metadata struct {
	mirror *Mirror
	match  *patternmatcher.PatternMatcher
	// list is MetadataFile as far as it is known.
	list []byte
	// parents are the directories that the last entry is in and that were not
	// transferred so far.
	parents []*fsutil.Stat
	// taken are the files that were transferred: links may be to them.
	taken map[string]bool
	// before is what MetadataFile is in the previous listing, or nil.
	before *fsutil.Stat
}

// NewMetadata returns a handler on top of a mirror that was not used so far.
// The mirror's Previous is the listing that an earlier Finish has returned.
// Patterns have the syntax of Patterns.Exclude; none means that no file is
// transferred.
func NewMetadata(m *Mirror, patterns []string) (*Metadata, error) {
	match, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("patterns of what is transferred %q: %w: %w", patterns, err, errdefs.ErrInvalidArgument)
	}
	out := &Metadata{mirror: m, match: match, taken: map[string]bool{}}
	i := slices.IndexFunc(m.Previous, func(st *fsutil.Stat) bool { return st.GetPath() == MetadataFile })
	if i >= 0 {
		out.before = m.Previous[i]
		m.Previous = slices.Delete(slices.Clone(m.Previous), i, i+1)
	}
	return out, nil
}

// Entry lists an entry, and passes it on if it matches.
func (m *Metadata) Entry(st *fsutil.Stat) (bool, error) {
	name := st.GetPath()
	if name == MetadataFile {
		// The client's own: ours takes its place.
		return false, nil
	}
	if err := m.add(st); err != nil {
		return false, err
	}
	for dir := path.Dir(name); len(m.parents) > 0 && m.parents[len(m.parents)-1].GetPath() != dir; {
		m.parents = m.parents[:len(m.parents)-1]
	}
	ok, err := m.match.MatchesOrParentMatches(name)
	if err != nil {
		return false, fmt.Errorf("match %q: %w", name, err)
	}
	if fs.FileMode(st.GetMode()).IsDir() && !ok {
		m.parents = append(m.parents, st)
	}
	if !ok {
		return false, nil
	}
	for _, p := range m.parents {
		if _, err := m.mirror.Entry(p); err != nil {
			return false, err
		}
	}
	m.parents = m.parents[:0]
	m.taken[name] = true
	if l := st.GetLinkname(); l != "" && fs.FileMode(st.GetMode()).IsRegular() && !m.taken[l] {
		// What it is a link to stays with the client.
		st = proto.CloneOf(st)
		st.Linkname = ""
	}
	return m.mirror.Entry(st)
}

// add lists an entry.
func (m *Metadata) add(st *fsutil.Stat) error {
	n := proto.Size(st)
	if len(m.list)+n+4 > maxMetadata {
		return fmt.Errorf("the list of files has more than %d bytes: %w", maxMetadata, errdefs.ErrResourceExhausted)
	}
	m.list = binary.LittleEndian.AppendUint32(m.list, uint32(n))
	var err error
	m.list, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(m.list, st)
	return err
}

// Data passes a piece of a file on.
func (m *Metadata) Data(worker int, st *fsutil.Stat, data []byte) error {
	return m.mirror.Data(worker, st, data)
}

// Finish completes the directory like Mirror.Finish, and writes MetadataFile
// unless it is there already.
func (m *Metadata) Finish() (Listing, bool, error) {
	listing, changed, err := m.mirror.Finish()
	if err != nil {
		return nil, false, err
	}
	sum := sha256.Sum256(m.list)
	st := &fsutil.Stat{
		Path: MetadataFile, Mode: metadataPerm, Size: int64(len(m.list)),
		Xattrs: map[string][]byte{metadataDigest: []byte(hex.EncodeToString(sum[:]))},
	}
	if m.before == nil || !bytes.Equal(m.before.GetXattrs()[metadataDigest], st.Xattrs[metadataDigest]) {
		changed = true
		if err := m.write(st); err != nil {
			return nil, false, err
		}
	}
	i, _ := slices.BinarySearchFunc(listing, MetadataFile, func(st *fsutil.Stat, name string) int { return ComparePath(st.GetPath(), name) })
	return slices.Insert(listing, i, st), changed, nil
}

// write replaces MetadataFile.
func (m *Metadata) write(st *fsutil.Stat) error {
	if err := m.mirror.touch(MetadataFile); err != nil {
		return err
	}
	w := m.mirror.writer
	if err := w.Remove(MetadataFile); err != nil {
		return err
	}
	f, err := w.Create(MetadataFile)
	if err != nil {
		return err
	}
	if _, err := f.Write(m.list); err != nil {
		f.Close()
		return fmt.Errorf("write list of files: %w", err)
	}
	onDisk := proto.CloneOf(st)
	onDisk.Xattrs = nil
	return w.Complete(f, onDisk)
}
