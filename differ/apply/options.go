package apply

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ/layerindex"
)

// ErrRefused is wrapped by errors about archive entries that are malformed or
// hostile. It is an errdefs.ErrInvalidArgument.
var ErrRefused = fmt.Errorf("archive entry refused: %w", errdefs.ErrInvalidArgument)

// Default limits. Real images stay orders of magnitude below.
const (
	defaultMaxPath        = 4096    // PATH_MAX
	defaultMaxXattrs      = 256     // per entry
	defaultMaxXattr       = 1 << 16 // XATTR_SIZE_MAX
	defaultMaxSparseBytes = 1 << 40
)

// Limits bound what an archive may cost. Zero values mean the defaults.
type Limits struct {
	// MaxEntries is the number of entries; default layerindex.MaxEntries.
	MaxEntries int
	// MaxPath is the length in bytes of names and link targets; default 4096.
	MaxPath int
	// MaxXattrs is the number of extended attributes of an entry; default 256.
	MaxXattrs int
	// MaxXattr is the size in bytes of one attribute value; default 64 KiB.
	MaxXattr int
	// MaxBytes is the sum of all file sizes. There is no default: disk space is
	// bounded elsewhere.
	MaxBytes int64
	// MaxSparseBytes is the sum of the sizes of sparse files, which a few bytes
	// of archive can blow up to any number of zeros; default 1 TiB.
	MaxSparseBytes int64
}

// withDefaults resolves zero values.
func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.MaxEntries, layerindex.MaxEntries)
	set(&l.MaxPath, defaultMaxPath)
	set(&l.MaxXattrs, defaultMaxXattrs)
	set(&l.MaxXattr, defaultMaxXattr)
	if l.MaxSparseBytes <= 0 {
		l.MaxSparseBytes = defaultMaxSparseBytes
	}
	return l
}

// Owner replaces the owner of every entry.
type Owner struct {
	// UID and GID are numeric ids on the target file system.
	UID, GID uint32
}

// Options tune Extract.
type Options struct {
	// Owner replaces the owners in the archive; nil keeps them.
	Owner *Owner
	// NoChown leaves every file to the user that unpacks.
	NoChown bool
	// NoXattrs ignores extended attributes.
	NoXattrs bool
	// Limits bound the archive.
	Limits Limits
}

// Target is where a layer is applied.
type Target struct {
	// Dir is the root of a tree, or the upper directory of an overlay.
	Dir string
	// Layered says that Dir is the upper directory of an overlay.
	Layered bool
	// Lower are the overlay's lower directories, topmost first. They are only
	// read.
	Lower []string
	// UserXattr says that the overlay keeps its marks in user attributes (mount
	// option userxattr).
	UserXattr bool
}

// LayerOptions tune Layer.
type LayerOptions struct {
	// NoIndex leaves out the content hashing; the Index returned is nil.
	NoIndex bool
	// Limits bound the archive.
	Limits Limits
}
