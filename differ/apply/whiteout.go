package apply

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// Names with a meaning in layers (image specification, "whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// isMarker reports whether a base name is a marker and no file.
func isMarker(base string) bool { return strings.HasPrefix(base, whiteoutPrefix) }

// marker handles a whiteout or opaque marker. Markers speak about lower layers
// only: what this layer holds itself stays, wherever the marker comes in the
// archive.
func (x *extractor) marker(dir, base string) error {
	if strings.HasPrefix(base, whiteoutMeta) && base != whiteoutOpaque {
		return nil // book-keeping of AUFS, such as .wh..wh.plnk
	}
	parent, err := x.tree.dir(dir)
	if err != nil {
		return err
	}
	if base == whiteoutOpaque {
		return x.opaque(parent)
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	// Attack: ".wh..." deletes the parent directory, ".wh.." the directory
	// itself.
	if err := inode.CheckName(name); err != nil {
		return fmt.Errorf("whiteout of %q: %w", name, ErrRefused)
	}
	return x.hide(parent, name)
}

// hide makes name in parent disappear from the lower layers.
func (x *extractor) hide(parent node, name string) error {
	path := joinPath(parent.path, name)
	own := x.tree.index.Get(path)
	switch {
	case own != nil && own.Kind == layerindex.Directory || own == nil && len(x.tree.index.Children(path)) > 0:
		// The layer has the directory too: only what is below it goes.
		sub, err := inode.OpenDir(parent.fd, name)
		if err != nil {
			return fmt.Errorf("open directory: %w", err)
		}
		defer unix.Close(sub)
		return x.opaque(node{sub, path})
	case own != nil:
		return nil // the layer's own file hides the lower ones already
	}
	var err error
	if x.tree.layered {
		err = x.replacing(parent, name, func() error { return unix.Mknodat(parent.fd, name, unix.S_IFCHR, 0) })
	} else {
		err = x.remove(parent, name)
	}
	if err != nil {
		return fmt.Errorf("white out %s: %w", path, err)
	}
	x.tree.index.Put(&layerindex.Entry{Path: path, Kind: layerindex.Whiteout})
	return nil
}

// opaque hides everything lower layers hold below dir.
func (x *extractor) opaque(dir node) error {
	if !x.tree.layered {
		if err := x.purge(dir); err != nil {
			return err
		}
		return x.markOpaque(dir)
	}
	if dir.path == "" {
		return x.opaqueRoot()
	}
	if err := x.tree.attrs.SetOpaque(dir.fd); err != nil {
		return fmt.Errorf("make %s opaque: %w", dir.path, err)
	}
	return x.markOpaque(dir)
}

// markOpaque notes it in the index. A directory that was there before the layer
// is described first.
func (x *extractor) markOpaque(dir node) error {
	e := x.tree.index.Get(dir.path)
	if e == nil {
		st, err := inode.Fstat(dir.fd)
		if err != nil {
			return fmt.Errorf("stat %s: %w", dir.path, err)
		}
		e = inode.Describe(dir.path, &st)
		if err := inode.ReadXattrs(dir.fd, "", e, x.tree.attrs.Foreign); err != nil {
			return err
		}
		e.Seal()
		x.tree.index.Put(e)
	}
	e.Opaque = true
	return nil
}

// purge removes from a tree what this layer did not bring.
func (x *extractor) purge(dir node) error {
	names, err := inode.Names(dir.fd)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir.path, err)
	}
	for _, name := range names {
		path := joinPath(dir.path, name)
		own := x.tree.index.Get(path)
		if own == nil && len(x.tree.index.Children(path)) == 0 {
			if err := x.remove(dir, name); err != nil {
				return err
			}
			continue
		}
		if own != nil && own.Kind != layerindex.Directory {
			continue
		}
		sub, err := inode.OpenDir(dir.fd, name)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		err = x.purge(node{sub, path})
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}

// opaqueRoot hides all lower layers: overlayfs does not look for the mark on the
// root directory, so every name is hidden by itself.
func (x *extractor) opaqueRoot() error {
	low, err := x.tree.below("")
	if err != nil || low == nil {
		return err
	}
	defer low.Close()
	names, err := low.Names()
	if err != nil {
		return fmt.Errorf("list lower layers: %w", err)
	}
	for _, name := range names {
		if err := x.hide(x.tree.root, name); err != nil {
			return err
		}
	}
	return nil
}

// hardLink makes one more name for a file of this or a lower layer.
func (x *extractor) hardLink(hdr *tar.Header, dir, base string) error {
	// Attack: a hard link to a file outside the root, which a later entry would
	// overwrite or chmod.
	target, err := cleanName(hdr.Linkname, x.budget.limits.MaxPath)
	if err != nil {
		return fmt.Errorf("link target %.300q: %w", hdr.Linkname, err)
	}
	if target == "" {
		return fmt.Errorf("link target is the root: %w", ErrRefused)
	}
	from, err := x.linkTarget(target)
	if err != nil {
		return err
	}
	defer unix.Close(from.fd)
	_, name := splitName(target)
	st, err := inode.Lstat(from.fd, name)
	if err != nil {
		return fmt.Errorf("link target %s: %w", target, err)
	}
	// Attack: hard links to directories make circles; the kernel refuses them
	// too, but not with a name.
	if inode.IsDir(&st) {
		return fmt.Errorf("link target %s is a directory: %w", target, ErrRefused)
	}
	parent, err := x.tree.dir(dir)
	if err != nil {
		return err
	}
	source, path := joinPath(from.path, name), joinPath(parent.path, base)
	// Attack: a link to itself would be removed to make room for the link.
	if source == path {
		return fmt.Errorf("link to itself: %w", ErrRefused)
	}
	err = x.replacing(parent, base, func() error { return unix.Linkat(from.fd, name, parent.fd, base, 0) })
	if err != nil {
		return err
	}
	return x.linkMeta(hdr, parent, base, source)
}

// linkTarget opens the directory of a link's target, copying the target up from
// lower layers if need be. The caller closes it.
func (x *extractor) linkTarget(target string) (node, error) {
	dir, name := splitName(target)
	from, err := x.tree.open(dir, false)
	if err == nil {
		var st inode.Stat
		st, err = inode.Lstat(from.fd, name)
		hidden := false
		if err == nil && x.tree.layered {
			// Attack: linking a whiteout would delete a name without a marker.
			hidden, err = x.tree.attrs.IsWhiteout(from.fd, name, &st)
		}
		if err == nil && !hidden {
			return from, nil
		}
		unix.Close(from.fd)
		if hidden {
			return node{}, fmt.Errorf("link target %s was deleted: %w", target, ErrRefused)
		}
	}
	if !inode.Missing(err) {
		return node{}, err
	}
	ok, upErr := x.tree.copyUpFile(target)
	if upErr != nil {
		return node{}, upErr
	}
	if !ok {
		return node{}, fmt.Errorf("link target %s does not exist: %w", target, errors.Join(ErrRefused, err))
	}
	return x.tree.open(dir, false)
}

// linkMeta applies the metadata of a link entry, which is the file's own in
// every ordinary archive, and records the new name.
func (x *extractor) linkMeta(hdr *tar.Header, parent node, base, source string) error {
	path := joinPath(parent.path, base)
	first := x.tree.index.Get(source)
	if first != nil && first.Kind == layerindex.Regular && x.sameMeta(hdr, first) {
		x.tree.index.Link(path, source)
		for _, name := range x.tree.index.Names(path) {
			x.tree.index.Get(name).ModTime = nanoseconds(hdr.ModTime)
		}
		return x.date(parent.fd, base, hdr)
	}
	st, err := inode.Lstat(parent.fd, base)
	if err != nil {
		return fmt.Errorf("stat link: %w", err)
	}
	want := x.describe(hdr, path, inode.Describe(path, &st).Kind)
	if err := x.applyName(parent.fd, base, want, hdr); err != nil {
		return err
	}
	if err := x.date(parent.fd, base, hdr); err != nil {
		return err
	}
	if first == nil {
		// A tree's lower file: this layer owns the new name only.
		e, err := x.reread(parent, base)
		if err == nil {
			x.tree.index.Put(e)
		}
		return err
	}
	x.tree.index.Link(path, source)
	e, err := x.reread(parent, base)
	if err != nil {
		return err
	}
	for _, name := range x.tree.index.Names(path) {
		other := x.tree.index.Get(name)
		keep := other.Path
		*other = *e
		other.Path = keep
	}
	return nil
}

// sameMeta reports whether applying the header would change nothing that enters
// digests.
func (x *extractor) sameMeta(hdr *tar.Header, e *layerindex.Entry) bool {
	want := *e
	fresh := x.describe(hdr, e.Path, e.Kind)
	want.Mode, want.UID, want.GID, want.Xattrs = fresh.Mode, fresh.UID, fresh.GID, fresh.Xattrs
	return string(want.Header()) == string(e.Header())
}

// reread describes a file from disk, digests included.
func (x *extractor) reread(parent node, base string) (*layerindex.Entry, error) {
	st, err := inode.Lstat(parent.fd, base)
	if err != nil {
		return nil, fmt.Errorf("stat link: %w", err)
	}
	e := inode.Describe(joinPath(parent.path, base), &st)
	if !x.hash {
		return e, nil
	}
	return e, inode.Read(parent.fd, base, e, x.tree.attrs.Foreign)
}
