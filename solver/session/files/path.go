package files

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// Bounds on what a peer may send.
const (
	maxEntries    = 10_000_000
	maxPathLength = 4096
	maxXattrBytes = 1 << 20
)

// errProtocol marks packets that break the protocol.
var errProtocol = errors.New("file transfer protocol error")

// ComparePath orders paths as a walk visits them: like bytes.Compare, but '/'
// sorts before every other byte.
func ComparePath(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		default:
			return 1
		}
	}
	return len(a) - len(b)
}

// checker validates the order and form of the entries of one walk.
type checker struct {
	// dirs is the stack of directories that the last entry lies in.
	dirs []string
	last string
	n    int
}

// check refuses entries that could escape the root or confuse the receiver:
// absolute paths and ".." (path traversal), entries below something that is
// no directory (writing through a link), and entries out of order.
func (c *checker) check(st *fsutil.Stat) error {
	p := st.GetPath()
	switch {
	case p == "" || p == "." || len(p) > maxPathLength || strings.ContainsRune(p, 0):
		return fmt.Errorf("%w: invalid path %.80q", errProtocol, p)
	case path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("%w: path %.80q leaves the directory", errProtocol, p)
	case c.n > 0 && ComparePath(c.last, p) >= 0:
		return fmt.Errorf("%w: changes out of order: %.80q after %.80q", errProtocol, p, c.last)
	case c.n >= maxEntries:
		return fmt.Errorf("%w: more than %d files", errProtocol, maxEntries)
	}
	parent := path.Dir(p)
	for len(c.dirs) > 0 && c.dirs[len(c.dirs)-1] != parent {
		c.dirs = c.dirs[:len(c.dirs)-1]
	}
	if parent != "." && len(c.dirs) == 0 {
		return fmt.Errorf("%w: %.80q is not in a directory that was sent", errProtocol, p)
	}
	var xattrs int
	for k, v := range st.GetXattrs() {
		xattrs += len(k) + len(v)
	}
	if xattrs > maxXattrBytes {
		return fmt.Errorf("%w: extended attributes of %.80q are larger than %d bytes", errProtocol, p, maxXattrBytes)
	}
	if fs.FileMode(st.GetMode()).IsDir() {
		c.dirs = append(c.dirs, p)
	}
	c.last = p
	c.n++
	return nil
}

// sortDirs sorts entries by path.
func sortDirs(dirs []*fsutil.Stat) []*fsutil.Stat {
	slices.SortFunc(dirs, func(a, b *fsutil.Stat) int { return ComparePath(a.GetPath(), b.GetPath()) })
	return dirs
}
