package diff

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	capability     = "security.capability"
	paxXattr       = "SCHILY.xattr."
	copyBuffer     = 256 << 10
)

// Options tune Write.
type Options struct {
	// Epoch is the latest modification time the layer may hold; later ones are
	// clamped to it. Nil clamps nothing. Whiteouts are always dated 1970.
	Epoch *time.Time
	// UserXattrs also writes user.* attributes. By default only file
	// capabilities are written, as every other differ does.
	UserXattrs bool
	// Linker, optional, is asked before a file's bytes are written whether it
	// takes them from the open file fd instead. They are written all the same,
	// next and in one piece.
	Linker interface {
		Link(fd int, size int64) bool
	}
	// NoIndex saves the digests of files: there is no index then.
	NoIndex bool
}

// Write writes the layer that turns the lower tree of p into the upper one as
// an uncompressed tar, and returns its index, made from the same pass, unless
// told not to.
//
// The index describes the files as they are on disk: it has the attributes that
// enter entry digests even where the tar leaves them out. On ErrNeedsMount part
// of the tar may have been written already.
func Write(ctx context.Context, w io.Writer, p Pair, opts Options) (*layerindex.Index, error) {
	root, err := inode.OpenRoot(p.Upper)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	lw := &layerWriter{
		tw:     tar.NewWriter(w),
		index:  layerindex.NewBuilder(),
		opts:   opts,
		root:   root,
		attrs:  p.attrs(),
		links:  map[inodeKey]*layerindex.Entry{},
		waits:  map[inodeKey][]string{},
		added:  map[string]bool{},
		hasher: layerindex.NewHasher(),
		buf:    make([]byte, copyBuffer),
	}
	if err := lw.putRoot(); err != nil {
		return nil, err
	}
	if err := Changes(ctx, p, lw.change); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	if err := lw.tw.Close(); err != nil {
		return nil, fmt.Errorf("finish layer: %w", err)
	}
	if opts.NoIndex {
		return nil, nil
	}
	return lw.index.Index()
}

// inodeKey identifies a file with several names.
type inodeKey struct{ dev, ino uint64 }

// layerWriter turns changes into tar entries and index entries.
type layerWriter struct {
	tw     *tar.Writer
	index  *layerindex.Builder
	opts   Options
	root   int
	attrs  overlay.Attrs
	hasher *layerindex.Hasher
	buf    []byte

	// links has the first written name of each hard-linked file.
	links map[inodeKey]*layerindex.Entry
	// waits has unmodified names of hard-linked files that become links if
	// another name of the same file turns out to be new.
	waits map[inodeKey][]string
	// added has the directories written.
	added map[string]bool
	// dirs is the chain of directories above the current path.
	dirs []Change
}

// putRoot records the root directory, which the tar leaves out.
func (l *layerWriter) putRoot() error {
	st, err := inode.Fstat(l.root)
	if err != nil {
		return fmt.Errorf("stat root: %w", err)
	}
	e, err := l.describe(l.root, "", "", &st)
	if err != nil {
		return err
	}
	e.Seal()
	l.index.Put(e)
	l.added[""] = true
	return nil
}

// change handles one step of the walk.
func (l *layerWriter) change(c *Change) error {
	for len(l.dirs) > 0 && !strings.HasPrefix(c.Path, l.dirs[len(l.dirs)-1].Path+"/") {
		l.dirs = l.dirs[:len(l.dirs)-1]
	}
	switch {
	case c.Kind == Delete:
		return l.whiteout(c.Path)
	case c.stat.Mode&unix.S_IFMT == unix.S_IFSOCK:
		// A tar has no type for sockets. What a socket replaced is gone, though:
		// other differs forget that and let it come back.
		if c.Kind == Modify && !c.socketBefore {
			return l.whiteout(c.Path)
		}
		return nil
	case c.IsDir():
		l.dirs = append(l.dirs, *c)
		if c.Kind == Unmodified {
			return nil
		}
		return l.parents(c.Path + "/")
	case c.stat.Nlink > 1:
		return l.linked(c)
	}
	_, err := l.file(c)
	return err
}

// whiteout writes the marker of a deleted path.
func (l *layerWriter) whiteout(path string) error {
	if err := l.parents(path); err != nil {
		return err
	}
	cut := strings.LastIndexByte(path, '/') + 1
	hdr := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     path[:cut] + whiteoutPrefix + path[cut:],
		ModTime:  time.Unix(0, 0).UTC(),
	}
	if err := l.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write whiteout of %s: %w", path, err)
	}
	l.index.Put(&layerindex.Entry{Path: path, Kind: layerindex.Whiteout})
	return nil
}

// linked writes a file with several names: the first changed name with its
// bytes, all others as links to it.
func (l *layerWriter) linked(c *Change) error {
	key := inodeKey{c.stat.Dev, c.stat.Ino}
	if first := l.links[key]; first != nil {
		return l.link(c.Path, first, c)
	}
	if c.Kind == Unmodified {
		l.waits[key] = append(l.waits[key], c.Path)
		return nil
	}
	first, err := l.file(c)
	if err != nil {
		return err
	}
	l.links[key] = first
	for _, path := range l.waits[key] {
		if err := l.link(path, first, c); err != nil {
			return err
		}
	}
	delete(l.waits, key)
	return nil
}

// link writes path as one more name of the file first, c being any of its
// names.
func (l *layerWriter) link(path string, first *layerindex.Entry, c *Change) error {
	if err := l.parents(path); err != nil {
		return err
	}
	e := *first
	e.Path = path
	hdr, err := l.header(&e, c)
	if err != nil {
		return err
	}
	hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first.Path, 0
	if err := l.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write link %s: %w", path, err)
	}
	l.index.Link(path, first.Path)
	return nil
}

// file writes a file with its bytes.
func (l *layerWriter) file(c *Change) (*layerindex.Entry, error) {
	if err := l.parents(c.Path); err != nil {
		return nil, err
	}
	e, err := l.describe(c.dir, c.name, c.Path, &c.stat)
	if err != nil {
		return nil, err
	}
	hdr, err := l.header(e, c)
	if err != nil {
		return nil, err
	}
	if err := l.tw.WriteHeader(hdr); err != nil {
		return nil, fmt.Errorf("write header of %s: %w", c.Path, err)
	}
	if e.Size == 0 {
		e.Seal()
	} else if err := l.bytes(c, e); err != nil {
		return nil, err
	}
	l.index.Put(e)
	return e, nil
}

// bytes copies a file into the tar and the digests at once.
func (l *layerWriter) bytes(c *Change, e *layerindex.Entry) error {
	fd, err := inode.OpenFile(c.dir, c.name)
	if err != nil {
		return fmt.Errorf("open %s: %w", c.Path, err)
	}
	defer unix.Close(fd)
	if l.opts.Linker != nil {
		l.opts.Linker.Link(fd, e.Size)
	}
	sink := io.Writer(l.tw)
	if !l.opts.NoIndex {
		l.hasher.Reset(e)
		sink = tee{l.tw, l.hasher}
	}
	n, err := inode.Copy(sink, fd, l.buf)
	if err == nil && n != e.Size {
		err = fmt.Errorf("size changed from %d to %d while it was read", e.Size, n)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", c.Path, err)
	}
	if !l.opts.NoIndex {
		l.hasher.Finish(e)
	}
	return nil
}

// parents writes those directories above path that were not written yet. A path
// with a trailing slash is itself such a directory.
func (l *layerWriter) parents(path string) error {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' || l.added[path[:i]] {
			continue
		}
		if err := l.directory(path[:i]); err != nil {
			return err
		}
	}
	return nil
}

// directory writes one directory.
func (l *layerWriter) directory(path string) error {
	l.added[path] = true
	for i := range l.dirs {
		if l.dirs[i].Path == path {
			_, err := l.writeDir(&l.dirs[i])
			return err
		}
	}
	// Only the late links of linked get here: their directory was left before.
	cut := strings.LastIndexByte(path, '/')
	c := Change{Kind: Modify, Path: path, name: path[cut+1:]}
	dir, err := inode.OpenPath(l.root, path[:max(cut, 0)])
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	c.dir = dir
	if c.stat, err = inode.Lstat(dir, c.name); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	_, err = l.writeDir(&c)
	return err
}

// writeDir writes a directory's header.
func (l *layerWriter) writeDir(c *Change) (*layerindex.Entry, error) {
	e, err := l.describe(c.dir, c.name, c.Path, &c.stat)
	if err != nil {
		return nil, err
	}
	hdr, err := l.header(e, c)
	if err != nil {
		return nil, err
	}
	if err := l.tw.WriteHeader(hdr); err != nil {
		return nil, fmt.Errorf("write header of %s: %w", c.Path, err)
	}
	e.Seal()
	l.index.Put(e)
	return e, nil
}

// describe makes the index entry of a file, all but the digests.
func (l *layerWriter) describe(dir int, name, path string, st *inode.Stat) (*layerindex.Entry, error) {
	e := inode.Describe(path, st)
	t := time.Unix(st.Mtim.Sec, st.Mtim.Nsec)
	if l.opts.Epoch != nil && t.After(*l.opts.Epoch) {
		t = *l.opts.Epoch
	}
	// The tar holds whole seconds, and the index must not know more than it.
	e.ModTime = inode.Nanoseconds(t.Unix(), 0)
	if e.Kind == layerindex.Symlink {
		target, err := inode.Readlink(dir, name)
		if err != nil {
			return nil, fmt.Errorf("read link %s: %w", path, err)
		}
		e.LinkName = target
	}
	return e, inode.ReadXattrs(dir, name, e, l.attrs.Foreign)
}

// header makes the tar header of an entry.
func (l *layerWriter) header(e *layerindex.Entry, c *Change) (*tar.Header, error) {
	hdr := &tar.Header{
		Name:     e.Path,
		Size:     e.Size,
		Mode:     int64(e.Mode),
		Uid:      int(e.UID),
		Gid:      int(e.GID),
		ModTime:  time.Unix(l.seconds(c), 0),
		Linkname: e.LinkName,
		Devmajor: int64(e.DevMajor),
		Devminor: int64(e.DevMinor),
		Format:   tar.FormatPAX,
	}
	switch e.Kind {
	case layerindex.Regular:
		hdr.Typeflag = tar.TypeReg
	case layerindex.Directory:
		hdr.Typeflag = tar.TypeDir
		hdr.Name += "/"
	case layerindex.Symlink:
		hdr.Typeflag = tar.TypeSymlink
	case layerindex.CharDevice:
		hdr.Typeflag = tar.TypeChar
	case layerindex.BlockDevice:
		hdr.Typeflag = tar.TypeBlock
	case layerindex.Fifo:
		hdr.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("%s is a %s, which no tar can hold", e.Path, e.Kind)
	}
	for _, x := range e.Xattrs {
		user := l.opts.UserXattrs && strings.HasPrefix(x.Key, "user.") && !strings.Contains(x.Key, "=")
		if x.Key != capability && !user {
			continue
		}
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords[paxXattr+x.Key] = x.Value
	}
	return hdr, nil
}

// seconds is the clamped modification time, exact where nanoseconds saturate.
func (l *layerWriter) seconds(c *Change) int64 {
	t := time.Unix(c.stat.Mtim.Sec, c.stat.Mtim.Nsec)
	if l.opts.Epoch != nil && t.After(*l.opts.Epoch) {
		t = *l.opts.Epoch
	}
	return t.Unix()
}

// tee writes to a tar and to digests; the latter cannot fail.
type tee struct {
	tar    io.Writer
	hasher *layerindex.Hasher
}

// Write copies p to both.
func (t tee) Write(p []byte) (int, error) {
	t.hasher.Write(p)
	return t.tar.Write(p)
}
