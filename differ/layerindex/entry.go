package layerindex

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Kind is the type of an Entry. The values are part of the format.
type Kind uint8

// Kinds of entries.
const (
	// Whiteout hides the path in lower layers; no other field but Path is set.
	Whiteout Kind = iota
	// Regular is a file with content, or one more name of it (LinkName set).
	Regular
	// Directory is a directory.
	Directory
	// Symlink is a symbolic link to LinkName.
	Symlink
	// CharDevice is a character device.
	CharDevice
	// BlockDevice is a block device.
	BlockDevice
	// Fifo is a named pipe.
	Fifo
	// Socket is a bound unix socket. Tars cannot carry it, so it appears only in
	// indexes read from a directory.
	Socket

	kindEnd
)

// String names the kind for diagnostics.
func (k Kind) String() string {
	names := [...]string{"whiteout", "file", "directory", "symlink", "char", "block", "fifo", "socket"}
	if int(k) < len(names) {
		return names[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Sum is a raw SHA-256.
type Sum [sha256.Size]byte

// Digest returns the sum in its usual text form.
func (s Sum) Digest() digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, s[:])
}

// EmptySum is the SHA-256 of no bytes, the Content of every empty file.
var EmptySum = Sum(sha256.Sum256(nil))

// Xattr is one extended attribute.
type Xattr struct {
	// Key is the full name, such as "user.mime_type".
	Key string
	// Value is the raw value.
	Value string
}

// Entry describes one path of a layer.
type Entry struct {
	// Path is relative and clean; empty for the layer's root directory.
	Path string
	// Kind is the type of the file.
	Kind Kind
	// Opaque is set on directories that hide what lower layers hold below them.
	Opaque bool
	// Mode holds permission bits and 04000 setuid, 02000 setgid, 01000 sticky.
	Mode uint32
	// UID and GID are the numeric owners.
	UID, GID uint32
	// Size is the length of a regular file in bytes, else zero.
	Size int64
	// ModTime is the modification time in nanoseconds since 1970.
	ModTime int64
	// LinkName is the target of a symbolic link. On a regular file it is the
	// path of the first name of the same inode in this layer, empty on that
	// first name itself.
	LinkName string
	// DevMajor and DevMinor number a device.
	DevMajor, DevMinor uint32
	// Xattrs are the attributes that take part in the digest, sorted by key.
	Xattrs []Xattr
	// Digest is the entry digest: header and bytes.
	Digest Sum
	// Content is the digest of a regular file's bytes alone.
	Content Sum
}

// SetXattrs keeps those of attrs that take part in the entry digest, sorted.
func (e *Entry) SetXattrs(attrs map[string]string) {
	e.Xattrs = nil
	for k, v := range attrs {
		if HashedXattr(k) {
			e.Xattrs = append(e.Xattrs, Xattr{Key: k, Value: v})
		}
	}
	slices.SortFunc(e.Xattrs, func(a, b Xattr) int { return cmp.Compare(a.Key, b.Key) })
}

// HashedXattr reports whether an attribute takes part in the entry digest.
func HashedXattr(key string) bool {
	return key == "security.capability" ||
		!strings.HasPrefix(key, "security.") && !strings.HasPrefix(key, "system.")
}

// Header returns the bytes that precede the content in the entry digest.
func (e *Entry) Header() []byte {
	mode := e.Mode & 0o7777
	link := ""
	if e.Kind == Symlink {
		mode, link = mode|0o777, e.LinkName
	}
	b := make([]byte, 0, 160)
	text := func(key, value string) {
		b = append(append(b, key...), value...)
	}
	number := func(key string, value int64) {
		b = strconv.AppendInt(append(b, key...), value, 10)
	}
	text("name", "")
	number("mode", int64(mode))
	number("uid", int64(e.UID))
	number("gid", int64(e.GID))
	number("size", e.Size)
	text("typeflag", e.Kind.typeflag())
	text("linkname", link)
	text("uname", "")
	text("gname", "")
	number("devmajor", int64(e.DevMajor))
	number("devminor", int64(e.DevMinor))
	for _, x := range e.Xattrs {
		text(x.Key, x.Value)
	}
	return b
}

// typeflag is the tar type of the kind. A socket counts as an empty file.
func (k Kind) typeflag() string {
	switch k {
	case Directory:
		return "5"
	case Symlink:
		return "2"
	case CharDevice:
		return "3"
	case BlockDevice:
		return "4"
	case Fifo:
		return "6"
	}
	return "0"
}

// HeaderDigest is the SHA-256 of Header: it tells a change of metadata from a
// change of content.
func (e *Entry) HeaderDigest() Sum { return sha256.Sum256(e.Header()) }

// Seal computes Digest (and Content) of an entry without bytes: anything but
// a regular file of non-zero size. A whiteout has no digest.
func (e *Entry) Seal() {
	switch {
	case e.Kind == Whiteout:
		return
	case e.Kind == Regular:
		e.Content = EmptySum
	}
	e.Digest = e.HeaderDigest()
}

// Time returns ModTime as a time in UTC.
func (e *Entry) Time() time.Time { return time.Unix(0, e.ModTime).UTC() }

// Hasher computes both digests of a regular file in one pass over its bytes.
// It implements io.Writer.
type Hasher struct {
	entry, content hash.Hash
}

// NewHasher returns a Hasher that must be Reset before use.
func NewHasher() *Hasher {
	return &Hasher{entry: sha256.New(), content: sha256.New()}
}

// Reset starts the digests of e, whose header fields and Size must be final.
func (h *Hasher) Reset(e *Entry) {
	h.entry.Reset()
	h.entry.Write(e.Header())
	h.content.Reset()
}

// Write adds bytes of the file. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.entry.Write(p)
	return h.content.Write(p)
}

// Finish stores the digests in e.
func (h *Hasher) Finish(e *Entry) {
	h.entry.Sum(e.Digest[:0])
	h.content.Sum(e.Content[:0])
}

// ComparePaths orders paths component by component: the separator sorts before
// every other byte.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		ca, cb := a[i], b[i]
		if ca == cb {
			continue
		}
		switch {
		case ca == '/':
			return -1
		case cb == '/':
			return 1
		}
		return cmp.Compare(ca, cb)
	}
	return cmp.Compare(len(a), len(b))
}

// Validate checks an entry as Decode does; the error names the field.
func (e *Entry) Validate() error {
	if err := validPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Kind >= kindEnd:
		return fmt.Errorf("entry %q: %s is unknown", e.Path, e.Kind)
	case e.Path == "" && e.Kind != Directory:
		return fmt.Errorf("root entry is a %s, not a directory", e.Kind)
	case e.Opaque && e.Kind != Directory:
		return fmt.Errorf("entry %q: opaque %s", e.Path, e.Kind)
	case e.Mode > 0o7777:
		return fmt.Errorf("entry %q: mode %#o has more than 12 bits", e.Path, e.Mode)
	case e.Size < 0 || e.Size > 0 && e.Kind != Regular:
		return fmt.Errorf("entry %q: %s of size %d", e.Path, e.Kind, e.Size)
	case e.LinkName != "" && e.Kind != Symlink && e.Kind != Regular:
		return fmt.Errorf("entry %q: %s with a link name", e.Path, e.Kind)
	case len(e.LinkName) > maxPath:
		return fmt.Errorf("entry %q: link name of %d bytes", e.Path, len(e.LinkName))
	}
	if e.Kind == Regular && e.LinkName != "" {
		return validPath(e.LinkName)
	}
	return nil
}

// validPath refuses what is not a clean relative path.
func validPath(p string) error {
	if p == "" {
		return nil
	}
	if len(p) > maxPath {
		return fmt.Errorf("path of %d bytes", len(p))
	}
	if strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("path %q holds a NUL", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("path %q is not clean", p)
		}
	}
	return nil
}
