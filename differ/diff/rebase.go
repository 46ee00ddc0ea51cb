package diff

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"golang.org/x/sys/unix"
)

// Rebase fills the empty directory target with a layer that means on top of any
// tree what the tar of the pair says, see Portable. Files are hard links to
// those of the upper tree, so both must be on one file system; directories are
// made with the same attributes. Target is a layer directory for overlayfs with
// the attribute name space of the pair. After an error target holds part of it.
//
// Sockets, which no tar can hold, are kept.
func Rebase(ctx context.Context, p Pair, target string) (err error) {
	r := &rebaser{attrs: p.attrs(), parentFD: -1, links: map[inodeKey]string{}, waits: map[inodeKey][]string{}, made: map[string]bool{"": true}}
	if r.from, err = inode.OpenRoot(p.Upper); err != nil {
		return err
	}
	defer unix.Close(r.from)
	if r.to, err = inode.OpenRoot(target); err != nil {
		return err
	}
	defer unix.Close(r.to)
	defer r.leave()
	r.dirs = append(r.dirs, "")
	if err := Changes(ctx, p, r.change); err != nil {
		return fmt.Errorf("rebase layer: %w", err)
	}
	// Filling directories has changed their times.
	for _, path := range slices.Backward(r.dirs) {
		if err := r.describe(path); err != nil {
			return fmt.Errorf("describe directory %q: %w", path, err)
		}
	}
	return nil
}

// rebaser links what changed into another directory.
type rebaser struct {
	attrs    overlay.Attrs
	from, to int

	// links has a linked name of each file with several; waits the unmodified
	// names of those of which none was linked yet, as in layerWriter.
	links map[inodeKey]string
	waits map[inodeKey][]string
	// made has the directories made, dirs the same in order, parents first.
	made map[string]bool
	dirs []string
	// parent is the target directory used last.
	parent   string
	parentFD int
}

// change handles one step of the walk.
func (r *rebaser) change(c *Change) error {
	switch {
	case c.Kind == Delete:
		return r.whiteout(c.Path)
	case c.IsDir():
		if c.Kind == Unmodified {
			return nil
		}
		return r.parents(c.Path + "/")
	case c.stat.Nlink > 1:
		return r.linked(c)
	}
	return r.link(c.dir, c.name, c.Path)
}

// linked handles one of several names of a file.
func (r *rebaser) linked(c *Change) error {
	key := inodeKey{c.stat.Dev, c.stat.Ino}
	if _, ok := r.links[key]; !ok && c.Kind == Unmodified {
		r.waits[key] = append(r.waits[key], c.Path)
		return nil
	}
	r.links[key] = c.Path
	for _, path := range append(r.waits[key], c.Path) {
		if err := r.link(c.dir, c.name, path); err != nil {
			return err
		}
	}
	delete(r.waits, key)
	return nil
}

// link makes path a name of a file of the upper tree.
func (r *rebaser) link(dir int, name, path string) error {
	to, base, err := r.enter(path)
	if err == nil {
		err = unix.Linkat(dir, name, to, base, 0)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}

// whiteout deletes path.
func (r *rebaser) whiteout(path string) error {
	to, base, err := r.enter(path)
	if err == nil {
		err = unix.Mknodat(to, base, unix.S_IFCHR, 0)
	}
	if err == nil {
		// Overlayfs looks for whiteouts in a directory that no lower one has
		// only if it carries this mark.
		err = inode.SetXattr(to, "", string(r.attrs)+"origin", "")
	}
	if err != nil {
		return fmt.Errorf("white out %s: %w", path, err)
	}
	return nil
}

// enter makes the directories above path and returns the handle of the last,
// which is good until the next call, and the base name.
func (r *rebaser) enter(path string) (dir int, base string, err error) {
	cut := strings.LastIndexByte(path, '/')
	parent, base := path[:max(cut, 0)], path[cut+1:]
	if r.parentFD >= 0 && r.parent == parent {
		return r.parentFD, base, nil
	}
	if err := r.parents(path); err != nil {
		return -1, "", err
	}
	r.leave()
	r.parent = parent
	r.parentFD, err = inode.OpenPath(r.to, parent)
	return r.parentFD, base, err
}

// leave closes the directory used last.
func (r *rebaser) leave() {
	if r.parentFD >= 0 {
		unix.Close(r.parentFD)
	}
	r.parentFD = -1
}

// parents makes those directories above path that were not made yet. A path
// with a trailing slash is itself such a directory.
func (r *rebaser) parents(path string) error {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' || r.made[path[:i]] {
			continue
		}
		cut := strings.LastIndexByte(path[:i], '/')
		dir, err := inode.OpenPath(r.to, path[:max(cut, 0)])
		if err != nil {
			return err
		}
		err = unix.Mkdirat(dir, path[cut+1:i], 0o700)
		unix.Close(dir)
		if err != nil {
			return fmt.Errorf("make directory %s: %w", path[:i], err)
		}
		r.made[path[:i]] = true
		r.dirs = append(r.dirs, path[:i])
	}
	return nil
}

// describe gives a directory the attributes and times that it has in the upper
// tree.
func (r *rebaser) describe(path string) error {
	from, err := inode.OpenPath(r.from, path)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := inode.OpenPath(r.to, path)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	st, err := inode.Fstat(from)
	if err != nil {
		return err
	}
	keys, err := inode.ListXattr(from, "")
	if err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	for _, key := range keys {
		if r.attrs.Own(key) {
			continue
		}
		value, ok, err := inode.GetXattr(from, "", key)
		if err == nil && ok {
			err = inode.SetXattr(to, "", key, value)
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, ".", []unix.Timespec{st.Atim, st.Mtim}, 0)
}
