package file

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// linker makes files of a source's layers appear in a new layer by linking. A
// nil linker links nothing.
type linker struct {
	// roots are the handles of the layers' directories, the uppermost first.
	roots []int
	used  *usedInodes
	// dev is the file system of the only layer; a source there is shown as the
	// layer's directory itself.
	dev uint64
	// off is set when linking turned out to be impossible here.
	off atomic.Bool
}

// openLinker opens the directories of the source's layers. Layers that the new
// one is stacked on are left out: a file would have two names in one file
// system that are two files to those who made it.
func openLinker(layers []string, used *usedInodes) *linker {
	l := &linker{used: used}
	for _, path := range layers {
		if used.isBelow(path) {
			continue
		}
		if fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			l.roots = append(l.roots, fd)
		}
	}
	var st unix.Stat_t
	if len(layers) == 1 && len(l.roots) == 1 && unix.Fstat(l.roots[0], &st) == nil {
		l.dev = st.Dev
	}
	return l
}

// close closes the layers' directories.
func (l *linker) close() {
	for _, fd := range l.roots {
		unix.Close(fd)
	}
}

// layerDirsOf are the directories that make up one directory of a source.
type layerDirsOf struct{ fds []int }

// open opens what the layers hold of a source's directory.
//
// Attack: a link in one layer in place of a directory in another, to link a
// file from elsewhere. The kernel refuses all links on the way, and the file
// found is compared with the one that was looked up.
func (l *linker) open(d *dir) *layerDirsOf {
	out := &layerDirsOf{}
	if l == nil || l.off.Load() {
		return out
	}
	var st unix.Stat_t
	if l.dev != 0 && unix.Fstat(d.up, &st) == nil && st.Dev == l.dev {
		return out // the directory is the layer's own
	}
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for _, root := range l.roots {
		if fd, err := unix.Openat2(root, "."+d.path, how); err == nil {
			out.fds = append(out.fds, fd)
		}
	}
	return out
}

func (d *layerDirsOf) close() {
	for _, fd := range d.fds {
		unix.Close(fd)
	}
}

// link makes the copy a name of the file itself; false if it has to be copied.
func (l *linker) link(o *one) bool {
	if l == nil || l.off.Load() {
		return false
	}
	if l.dev != 0 && o.st.Dev == l.dev {
		return l.linkFrom(o.src.up, o.st, o)
	}
	for _, fd := range o.from.fds {
		var st unix.Stat_t
		err := unix.Fstatat(fd, o.name, &st, unix.AT_SYMLINK_NOFOLLOW)
		// Within one file system the view's inode number is the layer's.
		if err == nil && isRegular(&st) && st.Ino == o.st.Ino && st.Size == o.st.Size && st.Mtim == o.st.Mtim {
			return l.linkFrom(fd, &st, o)
		}
	}
	return false
}

// linkFrom links the file in a directory of a layer.
func (l *linker) linkFrom(fd int, st *unix.Stat_t, o *one) bool {
	// Claimed before it is linked, as two workers may meet here.
	if hasOwnAttr(fd, o.name) || !l.used.claim(st) {
		return false
	}
	err := unix.Linkat(fd, o.name, o.dst.up, o.to, 0)
	if err == nil {
		return true
	}
	// Other errors, such as too many links, are about this file only.
	if errors.Is(err, unix.EXDEV) {
		l.off.Store(true)
	}
	l.used.give(st)
	return false
}

// hasOwnAttr reports whether a file carries attributes of overlay's, which mean
// something in its own layer only.
func hasOwnAttr(dir int, name string) bool {
	keys, err := notFollowing.keys(namePath(dir, name))
	if err != nil {
		return true
	}
	for _, key := range keys {
		if ownAttr(key) {
			return true
		}
	}
	return false
}

// usedInodes knows which files must not be linked into a layer (once more):
// those that are in it or below it. Two names of one file are hard links to
// whoever copies the tree, and what is written to one shows in the other.
type usedInodes struct {
	// below are the directories of the layers below.
	below []string

	mu      sync.Mutex
	inodes  map[inodeKey]struct{}
	shared  int
	scanned bool
	unknown bool // the layers below could not be read
}

// fewShared is how many files that have other names already are copied before
// it is worth looking for those names in all layers below.
const fewShared = 64

// newUsedInodes knows of no file.
func newUsedInodes() usedInodes { return usedInodes{inodes: map[inodeKey]struct{}{}} }

// isBelow reports whether a layer, by its directory, is below the new one.
func (u *usedInodes) isBelow(path string) bool {
	for _, b := range u.below {
		if b == path {
			return true
		}
	}
	return false
}

// claim reports whether the file may be linked, and takes note of it.
func (u *usedInodes) claim(st *unix.Stat_t) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	// A file with one name only is in its own layer and nowhere else.
	if st.Nlink > 1 && len(u.below) > 0 {
		if u.shared++; u.shared <= fewShared {
			return false
		}
		if !u.scanned {
			u.scanned = true
			u.unknown = !u.scan()
		}
		if u.unknown {
			return false
		}
	}
	key := keyOf(st)
	if _, ok := u.inodes[key]; ok {
		return false
	}
	u.inodes[key] = struct{}{}
	return true
}

// give takes a claim back.
func (u *usedInodes) give(st *unix.Stat_t) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.inodes, keyOf(st))
}
