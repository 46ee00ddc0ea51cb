package file

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds on what one path can cost.
const (
	maxLinks = 255
	maxPath  = 64 << 10
)

// place is what a path leads to.
type place struct {
	// dir is the deepest directory on the way. The place owns it and those
	// above it, without the root.
	dir *dir
	// rest are the components below dir: none if the path leads to dir. The
	// first one does not exist or is no directory.
	rest []string
}

// close closes the directories that the place opened.
func (p place) close() { closeUpTo(p.dir, p.dir.tree.root) }

// path is the path of the place without links, whether something is there or
// not.
func (p place) path() string {
	return path.Join(append([]string{p.dir.path}, p.rest...)...)
}

// stat describes what is at the place; ok is false if nothing is.
func (p place) stat() (st unix.Stat_t, ok bool, err error) {
	if len(p.rest) == 0 {
		st, err = p.dir.stat()
		return st, err == nil, err
	}
	st, err = p.dir.lstat(p.rest[0])
	switch {
	case errors.Is(err, unix.ENOENT):
		return st, false, nil
	case err != nil:
		return st, false, p.dir.fault("lstat", p.rest[0], err)
	case len(p.rest) > 1:
		return st, false, &fs.PathError{Op: "stat", Path: p.path(), Err: unix.ENOTDIR}
	}
	return st, true, nil
}

// resolve follows a path from the root of the tree. Links on the way are
// followed, one at the end only if follow is set.
//
// Attack: links such as "a -> /etc", "a -> ../../../etc" or "a -> /proc/1/root"
// in either file system, to read or write the host. The kernel sees single
// names with O_NOFOLLOW only; an absolute target starts at the root of the tree
// and ".." ends there.
func (t *tree) resolve(p string, follow bool) (place, error) {
	w := &walk{at: t.root, todo: p}
	for w.todo != "" {
		var part string
		part, w.todo, _ = strings.Cut(w.todo, "/")
		if err := w.step(part, follow); err != nil {
			closeUpTo(w.at, t.root)
			return place{}, err
		}
	}
	return place{dir: w.at, rest: w.missing}, nil
}

// walk is a path being resolved.
type walk struct {
	at      *dir
	missing []string
	todo    string
	links   int
}

// step takes one component.
func (w *walk) step(part string, follow bool) error {
	switch {
	case part == "" || part == ".":
		return nil
	case part == "..":
		w.back()
		return nil
	case len(w.missing) > 0:
		// Below what is not there: a later step may make it.
		w.missing = append(w.missing, part)
		return nil
	}
	// Look first and open after: opening tells links, pipes and devices apart
	// only by having done it.
	st, err := w.at.lstat(part)
	switch {
	case errors.Is(err, unix.ENOENT):
		w.missing = []string{part}
		return nil
	case err != nil:
		return w.at.fault("lstat", part, err)
	case isDir(&st):
		c, err := w.at.child(part)
		if err != nil {
			return err
		}
		w.at = c
		return nil
	case isSymlink(&st) && (follow || strings.Trim(w.todo, "/") != ""):
		return w.link(part)
	}
	w.missing = []string{part}
	return nil
}

// back is "..": it takes back a name that is not there, and stays at the root.
func (w *walk) back() {
	if n := len(w.missing); n > 0 {
		w.missing = w.missing[:n-1]
		return
	}
	if w.at.parent != nil {
		up := w.at.parent
		w.at.close()
		w.at = up
	}
}

// link goes where a link points.
func (w *walk) link(name string) error {
	// Attack: links in a circle, and links that double the path each time.
	if w.links++; w.links > maxLinks {
		return w.at.fault("readlink", name, unix.ELOOP)
	}
	target, err := w.at.readlink(name)
	if err != nil {
		return w.at.fault("readlink", name, err)
	}
	w.todo = target + "/" + w.todo
	if len(w.todo) > maxPath {
		return w.at.fault("readlink", name, unix.ENAMETOOLONG)
	}
	if strings.HasPrefix(target, "/") {
		root := w.at.tree.root
		closeUpTo(w.at, root)
		w.at = root
	}
	return nil
}

// makeAll makes the directories that lead to p, p included, and returns p. New
// ones have the permissions, owner and time of how. The place is used up: the
// caller closes what is returned, or, after an error, nothing.
func makeAll(p place, how newDir) (place, error) {
	for i, name := range p.rest {
		// Only the first one can be there, and then it is no directory.
		if i == 0 {
			if _, err := p.dir.lstat(name); err == nil {
				err := p.dir.fault("mkdir", name, unix.ENOTDIR)
				p.close()
				return place{}, err
			}
		}
		c, err := p.dir.mkdir(name, how.mode)
		if err != nil {
			p.close()
			return place{}, err
		}
		p.dir = c
		if how.owner != nil {
			if err := unix.Fchown(c.up, how.owner.uid, how.owner.gid); err != nil {
				p.close()
				return place{}, &fs.PathError{Op: "chown", Path: c.path, Err: err}
			}
		}
	}
	p.rest = nil
	return p, nil
}

// newDir says what directories are made like that a path needs. A nil owner is
// who runs this, nil times are now.
type newDir struct {
	mode  uint32
	owner *owner
	times []unix.Timespec
}

// stamp dates the directories from d up that were made on the way, after all
// that changed them.
func (how newDir) stamp(d *dir) error {
	for ; d != nil && how.times != nil; d = d.parent {
		if !d.made || d.up == nothing {
			continue
		}
		if err := setTimes(d.up, "", how.times); err != nil {
			return &fs.PathError{Op: "utimes", Path: d.path, Err: err}
		}
	}
	return nil
}
