package diff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"golang.org/x/sys/unix"
)

// maxPath is the longest path of a layer; with it comes a bound on depth and so
// on open handles, against trees that a build step nested without end.
const maxPath = 4096

// ErrNeedsMount is answered for a layered Pair that uses overlayfs features
// which only the kernel resolves: compare the mounted trees instead.
var ErrNeedsMount = overlay.ErrNeedsMount

// Pair names two trees to compare.
type Pair struct {
	// Upper is the newer tree, or the layer directory of a layered pair.
	Upper string
	// Lower is the older tree. A layered pair has any number of layer directories
	// here, topmost first; otherwise there is one, or none for an empty tree.
	Lower []string
	// Layered tells the two apart.
	Layered bool
	// UserXattr says that a layered pair keeps overlayfs's attributes in the user
	// name space (mount option userxattr).
	UserXattr bool
}

// attrs is the attribute name space of the pair.
func (p Pair) attrs() overlay.Attrs {
	if p.UserXattr {
		return overlay.UserAttrs
	}
	return overlay.TrustedAttrs
}

// Kind says what happened to a path.
type Kind int

// Kinds of changes.
const (
	// Add is a path that is only in the upper tree.
	Add Kind = iota
	// Modify is a path that differs.
	Modify
	// Delete is a path that is only in the lower tree. Nothing below it is told.
	Delete
	// Unmodified is told for every directory that is walked and for every file
	// with several hard links, because both may matter to later changes.
	Unmodified
)

// Change is one step of the walk. It is valid during the callback only.
type Change struct {
	// Kind says what happened.
	Kind Kind
	// Path is relative to the root of the trees and clean.
	Path string

	dir  int // handle of the upper directory that holds the file
	name string
	stat inode.Stat
	// socketBefore says that the lower file is a socket, which no layer holds.
	socketBefore bool
}

// IsDir reports whether the upper file is a directory.
func (c *Change) IsDir() bool { return c.Kind != Delete && inode.IsDir(&c.stat) }

// Changes walks a pair in path order, depth first, and calls fn for each
// change. An error of fn ends the walk and is returned.
func Changes(ctx context.Context, p Pair, fn func(*Change) error) error {
	return p.walk(ctx, &walker{layered: p.Layered, attrs: p.attrs(), fn: fn})
}

// walk opens the trees for a walker.
func (p Pair) walk(ctx context.Context, w *walker) error {
	up, err := inode.OpenRoot(p.Upper)
	if err != nil {
		return err
	}
	defer unix.Close(up)
	low, err := overlay.OpenStack(p.Lower, p.attrs())
	if err != nil {
		return err
	}
	defer low.Close()
	return w.walk(ctx, "", up, low, !p.Layered)
}

// walker compares directories pairwise.
type walker struct {
	layered bool
	attrs   overlay.Attrs
	fn      func(*Change) error
	// bound, optional, is told of what only means something over these very
	// layers: opaque directories, whiteouts of nothing, files that are unmodified.
	bound func(path string) error
}

// tie tells bound.
func (w *walker) tie(path string) error {
	if w.bound == nil {
		return nil
	}
	return w.bound(path)
}

// walk compares the upper directory with the lower one. If whole is set, names
// that are only below were deleted; otherwise whiteouts tell what was.
func (w *walker) walk(ctx context.Context, path string, up int, low *overlay.Stack, whole bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(path) > maxPath {
		return fmt.Errorf("directory path of %d bytes is too long for a layer: %w", len(path), errdefs.ErrInvalidArgument)
	}
	names, err := inode.Names(up)
	if err != nil {
		return fmt.Errorf("list %q: %w", path, err)
	}
	if whole && low != nil {
		below, err := low.Names()
		if err != nil {
			return fmt.Errorf("list lower %q: %w", path, err)
		}
		names = append(names, below...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	for _, name := range names {
		child := name
		if path != "" {
			child = path + "/" + name
		}
		if err := w.visit(ctx, &Change{Path: child, dir: up, name: name}, low, whole); err != nil {
			return err
		}
	}
	return nil
}

// visit compares one name.
func (w *walker) visit(ctx context.Context, c *Change, low *overlay.Stack, whole bool) error {
	hit, below, err := low.Lookup(c.name)
	if err != nil {
		return err
	}
	present := true
	if c.stat, err = inode.Lstat(c.dir, c.name); errors.Is(err, unix.ENOENT) {
		present, err = false, nil
	}
	if err == nil && present && w.layered {
		present, err = w.inspect(c)
	}
	switch {
	case err != nil:
		return fmt.Errorf("look at %s: %w", c.Path, err)
	case !present && below:
		c.Kind = Delete
		return w.fn(c)
	case !present:
		return w.tie(c.Path)
	case below:
		c.Kind = Modify
		c.socketBefore = hit.Stat.Mode&unix.S_IFMT == unix.S_IFSOCK
		same, err := w.same(c, hit)
		if err != nil {
			return fmt.Errorf("compare %s: %w", c.Path, err)
		}
		if same {
			c.Kind = Unmodified
		}
	}
	if inode.IsDir(&c.stat) {
		return w.descend(ctx, c, low, below && inode.IsDir(&hit.Stat), whole)
	}
	if c.Kind == Unmodified && c.stat.Nlink < 2 {
		return w.tie(c.Path)
	}
	return w.fn(c)
}

// inspect looks for overlayfs's marks on a file of a layer directory; present is
// false for a whiteout.
func (w *walker) inspect(c *Change) (present bool, err error) {
	white, err := w.attrs.IsWhiteout(c.dir, c.name, &c.stat)
	if err != nil || white {
		return false, err
	}
	if inode.IsRegular(&c.stat) {
		return true, w.refuseMetacopy(c.dir, c.name)
	}
	return true, nil
}

// refuseMetacopy answers ErrNeedsMount for a file whose bytes are elsewhere.
func (w *walker) refuseMetacopy(dir int, name string) error {
	_, meta, err := inode.GetXattr(dir, name, string(w.attrs)+"metacopy")
	if err == nil && meta {
		err = ErrNeedsMount
	}
	return err
}

// descend tells a directory and walks it.
func (w *walker) descend(ctx context.Context, c *Change, low *overlay.Stack, merges, whole bool) error {
	sub, err := inode.OpenDir(c.dir, c.name)
	if err != nil {
		return fmt.Errorf("open %s: %w", c.Path, err)
	}
	defer unix.Close(sub)
	if w.layered {
		opaque, err := w.attrs.IsOpaque(sub)
		if err != nil {
			return fmt.Errorf("look at %s: %w", c.Path, err)
		}
		if opaque {
			if err := w.tie(c.Path); err != nil {
				return err
			}
		}
		whole = whole || opaque
	}
	if err := w.fn(c); err != nil {
		return err
	}
	var child *overlay.Stack
	if merges {
		if child, err = low.Child(c.name); err != nil {
			return err
		}
		defer child.Close()
	}
	return w.walk(ctx, c.Path, sub, child, whole)
}

// same applies the rule of the package comment.
func (w *walker) same(c *Change, hit overlay.Hit) (bool, error) {
	a, b := &hit.Stat, &c.stat
	if a.Dev == b.Dev && a.Ino == b.Ino {
		return true, nil
	}
	if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev {
		return false, nil
	}
	capsA, _, err := inode.GetXattr(hit.Dir, c.name, capability)
	if err != nil {
		return false, err
	}
	capsB, _, err := inode.GetXattr(c.dir, c.name, capability)
	if err != nil || capsA != capsB {
		return false, err
	}
	if inode.IsDir(b) {
		return true, nil
	}
	if a.Size != b.Size || a.Mtim.Sec != b.Mtim.Sec {
		return false, nil
	}
	rounded := a.Mtim.Nsec == 0 && b.Mtim.Nsec == 0
	if a.Mtim.Nsec != b.Mtim.Nsec || !rounded && !w.layered {
		return a.Mtim.Nsec == b.Mtim.Nsec, nil
	}
	// In a layer directory equal times are rare enough to be looked into: a
	// tool may have rewritten the file and put its time back.
	return w.sameBytes(c, hit)
}

// sameBytes compares link targets and file contents.
func (w *walker) sameBytes(c *Change, hit overlay.Hit) (bool, error) {
	switch {
	case c.stat.Mode&unix.S_IFMT == unix.S_IFLNK:
		a, err := inode.Readlink(hit.Dir, c.name)
		if err != nil {
			return false, err
		}
		b, err := inode.Readlink(c.dir, c.name)
		return a == b, err
	case !inode.IsRegular(&c.stat) || c.stat.Size == 0:
		return true, nil
	}
	if w.layered {
		if err := w.refuseMetacopy(hit.Dir, c.name); err != nil {
			return false, err
		}
	}
	a, err := inode.OpenFile(hit.Dir, c.name)
	if err != nil {
		return false, err
	}
	defer unix.Close(a)
	b, err := inode.OpenFile(c.dir, c.name)
	if err != nil {
		return false, err
	}
	defer unix.Close(b)
	return equalFiles(a, b)
}

// equalFiles compares two files of the same size by position, so that short
// reads do not matter.
func equalFiles(a, b int) (bool, error) {
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for off := int64(0); ; {
		n, err := unix.Pread(a, bufA, off)
		if err != nil {
			return false, err
		}
		m, err := unix.Pread(b, bufB, off)
		if err != nil {
			return false, err
		}
		if n == 0 || m == 0 {
			return n == m, nil
		}
		n = min(n, m)
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			return false, nil
		}
		off += int64(n)
	}
}
