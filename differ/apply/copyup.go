package apply

import (
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// below opens the merged lower layers at a real path of the target, nil if they
// show no directory there. The caller closes it.
func (t *tree) below(path string) (*overlay.Stack, error) {
	low, err := overlay.OpenStack(t.lower, t.attrs)
	if err != nil || low == nil {
		return nil, err
	}
	up, err := inode.OpenPath(t.root.fd, "")
	if err != nil {
		low.Close()
		return nil, err
	}
	for _, part := range splitParts(path) {
		next, err := low.Child(part)
		low.Close()
		low = next
		// A mark in the layer itself may already hide what is below.
		if err == nil && up >= 0 {
			up, err = t.hideBelow(up, part, &low)
		}
		if err != nil || low == nil {
			if up >= 0 {
				unix.Close(up)
			}
			low.Close()
			return nil, err
		}
	}
	if up >= 0 {
		unix.Close(up)
	}
	return low, nil
}

// hideBelow steps from the upper directory up (which it closes) into part and
// drops low if it is hidden there. It answers -1 once the upper layer has no
// such directory.
func (t *tree) hideBelow(up int, part string, low **overlay.Stack) (int, error) {
	defer unix.Close(up)
	fd, err := inode.OpenDir(up, part)
	switch {
	case errors.Is(err, unix.ENOENT):
		return -1, nil
	case err != nil:
		(*low).Close()
		*low = nil
		return -1, nil
	}
	opaque, err := t.attrs.IsOpaque(fd)
	if opaque {
		(*low).Close()
		*low = nil
	}
	return fd, err
}

// copyUpDir makes directory name in cur like the lower layers' one, as
// overlayfs does before a file is written below it. A link there is returned
// for the caller to follow: it is part of the merged tree.
func (t *tree) copyUpDir(cur node, name string, create bool) (next node, link string, err error) {
	path := joinPath(cur.path, name)
	low, err := t.below(cur.path)
	if err != nil {
		return node{}, "", err
	}
	defer low.Close()
	hit, ok, err := low.Lookup(name)
	if err != nil {
		return node{}, "", err
	}
	if ok && hit.Stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		if link, err = inode.Readlink(hit.Dir, name); err == nil {
			err = checkLink(path, link)
		}
		return node{}, link, err
	}
	if !create {
		return node{}, "", fmt.Errorf("open directory %s: %w", path, unix.ENOENT)
	}
	if ok && !inode.IsDir(&hit.Stat) && !t.replace {
		return node{}, "", fmt.Errorf("%s is in the way and no directory: %w", path, unix.ENOTDIR)
	}
	if next, err = t.makeDir(cur, name); err != nil || !ok || !inode.IsDir(&hit.Stat) {
		return next, "", err
	}
	if err = t.copyDirMeta(next, hit, name); err != nil {
		unix.Close(next.fd)
		return node{}, "", fmt.Errorf("copy up directory %s: %w", path, err)
	}
	return next, "", nil
}

// copyDirMeta gives a new directory the metadata of the lower one. Its times
// follow at the end, with those of all directories.
func (t *tree) copyDirMeta(n node, hit overlay.Hit, name string) error {
	e := inode.Describe(n.path, &hit.Stat)
	if err := unix.Fchown(n.fd, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if err := t.copyXattrs(hit.Dir, name, n.fd, ""); err != nil {
		return err
	}
	if err := unix.Fchmod(n.fd, e.Mode); err != nil {
		return err
	}
	if err := inode.ReadXattrs(n.fd, "", e, t.attrs.Foreign); err != nil {
		return err
	}
	e.Seal()
	t.index.Put(e)
	return nil
}

// copyXattrs copies attributes, leaving out overlayfs's own.
func (t *tree) copyXattrs(fromDir int, from string, toDir int, to string) error {
	keys, err := inode.ListXattr(fromDir, from)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if t.attrs.Own(key) {
			continue
		}
		value, ok, err := inode.GetXattr(fromDir, from, key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := inode.SetXattr(toDir, to, key, value); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("set attribute %s: %w", key, err)
		}
	}
	return nil
}

// copyUpFile makes the target of a hard link exist in the upper directory: a
// link cannot cross layers, so the lower file is copied first, as overlayfs
// does. ok is false if no lower layer has such a file.
func (t *tree) copyUpFile(path string) (ok bool, err error) {
	dir, base := splitName(path)
	if !t.layered || inode.CheckName(base) != nil {
		return false, nil
	}
	low, err := t.below(dir)
	if err != nil {
		return false, err
	}
	defer low.Close()
	hit, ok, err := low.Lookup(base)
	if err != nil || !ok || !inode.IsRegular(&hit.Stat) {
		return false, err
	}
	parent, err := t.open(dir, true)
	if err != nil {
		return false, err
	}
	defer unix.Close(parent.fd)
	e := inode.Describe(joinPath(parent.path, base), &hit.Stat)
	if err := t.copyFile(hit, parent, base, e); err != nil {
		return false, fmt.Errorf("copy up %s: %w", path, err)
	}
	t.index.Put(e)
	return true, nil
}

// copyFile copies a lower file with all its metadata and completes e.
func (t *tree) copyFile(hit overlay.Hit, parent node, base string, e *layerindex.Entry) error {
	if _, meta, err := inode.GetXattr(hit.Dir, base, string(t.attrs)+"metacopy"); err != nil || meta {
		return errors.Join(err, overlay.ErrNeedsMount)
	}
	from, err := inode.OpenFile(hit.Dir, base)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := createFile(parent.fd, base)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if _, err := inode.Copy(fdWriter(to), from, make([]byte, copyBuffer)); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if err := t.copyXattrs(hit.Dir, base, parent.fd, base); err != nil {
		return err
	}
	if err := unix.Fchmod(to, e.Mode); err != nil {
		return err
	}
	if err := inode.Read(parent.fd, base, e, t.attrs.Foreign); err != nil {
		return err
	}
	return setTimes(parent.fd, base, hit.Stat.Atim, hit.Stat.Mtim)
}
