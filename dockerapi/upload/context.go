package upload

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// Context is an archive that was taken in. It is safe for concurrent use, until
// Close.
type Context struct {
	spool   *os.File
	nodes   map[string]*node
	entries []files.ListedEntry
	sum     digest.Digest
}

// Digest is that of the archive without its compression. Unlike sizes and
// times of files, which makers of archives set to what they like, it tells two
// contexts apart.
func (c *Context) Digest() digest.Digest { return c.sum }

// node is one name in a context.
type node struct {
	stat *fsutil.Stat
	// file has the bytes of a regular file; names of one file share it.
	file *segment
	// below counts the names right below a directory.
	below int
}

// segment is where the bytes of a file are in the spool.
type segment struct {
	offset, size int64
	// names counts how many there are, inode tells files with several apart.
	names, inode int
}

func (n *node) mode() fs.FileMode { return fs.FileMode(n.stat.GetMode()) }

// finish puts the entries in order.
func (c *Context) finish() {
	c.entries = make([]files.ListedEntry, 0, len(c.nodes))
	inodes := 0
	for _, n := range c.nodes {
		e := files.ListedEntry{Stat: n.stat}
		if n.file != nil && n.file.names > 1 {
			if n.file.inode == 0 {
				inodes++
				n.file.inode = inodes
			}
			e.Inode = n.file.inode
		}
		c.entries = append(c.entries, e)
	}
	slices.SortFunc(c.entries, func(a, b files.ListedEntry) int {
		return files.ComparePath(a.Stat.GetPath(), b.Stat.GetPath())
	})
}

// Len returns how many entries there are.
func (c *Context) Len() int { return len(c.entries) }

// Tree shows the context reduced by patterns.
func (c *Context) Tree(patterns files.Patterns) (files.Tree, error) {
	return files.NewListed(c.entries, c.open, patterns)
}

func (c *Context) open(name string) (io.ReadCloser, error) {
	n, ok := c.nodes[name]
	if !ok || n.file == nil {
		return nil, fmt.Errorf("open %s: %w", name, errdefs.ErrNotFound)
	}
	return io.NopCloser(io.NewSectionReader(c.spool, n.file.offset, n.file.size)), nil
}

// maxLinks bounds the symbolic links on the way to a file.
const maxLinks = 40

// ReadFile returns the bytes of a file, of at most limit bytes. Symbolic links
// are followed within the context. The error is errdefs NotFound if there is
// no such file.
func (c *Context) ReadFile(name string, limit int64) ([]byte, error) {
	n, err := c.lookup(name)
	if err != nil {
		return nil, err
	}
	if n.file.size > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed: %w", name, n.file.size, limit, errdefs.ErrInvalidArgument)
	}
	data := make([]byte, n.file.size)
	if _, err := io.ReadFull(io.NewSectionReader(c.spool, n.file.offset, n.file.size), data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// lookup finds a regular file. It keeps below the root, whatever links say: ".."
// of the root is the root.
func (c *Context) lookup(name string) (*node, error) {
	at := clean(name)
	for range maxLinks {
		next, ok := c.follow(at)
		if !ok {
			n := c.nodes[at]
			if n == nil || n.file == nil {
				return nil, fmt.Errorf("file %s is not in the context: %w", name, errdefs.ErrNotFound)
			}
			return n, nil
		}
		at = next
	}
	return nil, fmt.Errorf("%s: more than %d symbolic links: %w", name, maxLinks, errdefs.ErrInvalidArgument)
}

// follow replaces the first symbolic link in a path; ok is false if there is
// none.
func (c *Context) follow(name string) (string, bool) {
	for end := 0; end < len(name); {
		end++
		for end < len(name) && name[end] != '/' {
			end++
		}
		n := c.nodes[name[:end]]
		if n == nil || n.mode()&fs.ModeSymlink == 0 {
			continue
		}
		target := n.stat.GetLinkname()
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(name[:end]), target)
		}
		return clean(target + name[end:]), true
	}
	return "", false
}

// clean makes a path relative to the root and keeps it below that.
func clean(name string) string { return path.Clean("/" + name)[1:] }

// Close gives everything back.
func (c *Context) Close() error {
	if err := c.spool.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close context: %w", err)
	}
	return nil
}
