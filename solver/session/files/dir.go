package files

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// Dir is a Tree on disk, reduced by Patterns.
type Dir struct {
	root *os.Root
	// filter says what is left out.
	filter *filter
	// Map, if not nil, may change an entry before it is sent, or drop it by
	// returning false (a dropped directory is dropped whole).
	Map func(st *fsutil.Stat) bool
}

// OpenDir opens a directory as a Tree. Close it after use.
func OpenDir(name string, patterns Patterns) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open directory to send: %w", err)
	}
	out, err := newFilter(rootLinks{root}, patterns)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Dir{root: root, filter: out}, nil
}

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Open opens a file of the tree; links leading out of it are refused.
func (d *Dir) Open(name string) (io.ReadCloser, error) {
	return d.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// inode tells hard links apart.
type inode struct{ dev, ino uint64 }

// walk is the state of one Walk.
type walk struct {
	dir  *Dir
	ctx  context.Context //nolint:containedctx // lives as long as one walk
	fn   func(*fsutil.Stat) error
	seen map[inode]string
	// pending are directories not yet sent, because nothing below them matched
	// so far.
	pending []*fsutil.Stat
}

// Walk calls fn for each entry that the filter leaves.
func (d *Dir) Walk(ctx context.Context, fn func(st *fsutil.Stat) error) error {
	w := &walk{dir: d, ctx: ctx, fn: fn, seen: map[inode]string{}}
	return w.visit(".", d.filter.start())
}

func (w *walk) visit(dir string, parent match) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	f, err := w.dir.root.Open(filepath.FromSlash(dir))
	if err != nil {
		if dir != "." && os.IsNotExist(err) {
			return nil
		}
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	sortEntries(entries)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if err := w.entry(name, e, parent); err != nil {
			return err
		}
	}
	return nil
}

// entry sends one entry and what is below it.
func (w *walk) entry(name string, e fs.DirEntry, parent match) error {
	m, err := w.dir.filter.match(name, parent)
	if err != nil {
		return err
	}
	if !m.send && (!e.IsDir() || !m.descend) {
		return nil
	}
	st, err := w.stat(name)
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	if w.dir.Map != nil && !w.dir.Map(st) {
		return nil
	}
	depth := len(w.pending)
	if e.IsDir() && !m.send {
		w.pending = append(w.pending, st)
	} else if err := w.send(st); err != nil {
		return err
	}
	if e.IsDir() && (m.send || m.descend) {
		if err := w.visit(name, m); err != nil {
			return err
		}
	}
	w.pending = w.pending[:min(depth, len(w.pending))]
	return nil
}

// send sends the parents that were held back, then st.
func (w *walk) send(st *fsutil.Stat) error {
	for _, p := range w.pending {
		if err := w.fn(p); err != nil {
			return err
		}
	}
	w.pending = w.pending[:0]
	return w.fn(st)
}

// stat describes a file in the protocol's terms.
func (w *walk) stat(name string) (*fsutil.Stat, error) {
	fi, err := w.dir.root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	// Sockets cannot be sent; their name is, as a plain file.
	st := &fsutil.Stat{
		Path: name, Mode: uint32(fi.Mode() &^ fs.ModeSocket), ModTime: fi.ModTime().UnixNano(),
	}
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if ok {
		st.Uid, st.Gid = sys.Uid, sys.Gid
		if fi.Mode()&fs.ModeDevice != 0 {
			st.Devmajor, st.Devminor = int64(unix.Major(sys.Rdev)), int64(unix.Minor(sys.Rdev))
		}
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		if st.Linkname, err = w.dir.root.Readlink(filepath.FromSlash(name)); err != nil {
			return nil, err
		}
	case fi.Mode().IsRegular():
		st.Size = fi.Size()
		if ok && sys.Nlink > 1 {
			id := inode{sys.Dev, sys.Ino}
			if first, again := w.seen[id]; again {
				st.Linkname, st.Size = first, 0
			} else {
				w.seen[id] = name
			}
		}
	}
	st.Xattrs, err = w.xattrs(name)
	return st, err
}

// xattrs reads the extended attributes that travel: those that belong to a
// machine's security setup or to macOS's bookkeeping do not.
func (w *walk) xattrs(name string) (map[string][]byte, error) {
	full := filepath.Join(w.dir.root.Name(), filepath.FromSlash(name))
	names, err := sysx.LListxattr(full)
	if err != nil || len(names) == 0 {
		return nil, nil //nolint:nilerr // not supported or gone: nothing to send
	}
	var attrs map[string][]byte
	for _, n := range names {
		if strings.HasPrefix(n, "com.apple.") || n == "security.selinux" || strings.HasPrefix(n, "system.") {
			continue
		}
		v, err := sysx.LGetxattr(full, n)
		if err != nil {
			continue
		}
		if attrs == nil {
			attrs = map[string][]byte{}
		}
		attrs[n] = v
	}
	return attrs, nil
}
