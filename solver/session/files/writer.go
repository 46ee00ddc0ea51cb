package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// Writer writes entries below a directory. Every path is resolved by the
// kernel beneath the root and without following links, so that neither a
// hostile peer nor links that were there before lead out of it.
type Writer struct {
	root *os.File
	// chown sets owners as the entries say; otherwise files belong to the
	// process.
	chown bool

	mu sync.Mutex
	// parent is the last parent directory used: entries come in path order.
	parentName string
	parent     *os.File
}

// NewWriter opens a directory for writing. Close it after use.
func NewWriter(dir string, chown bool) (*Writer, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory to write: %w", err)
	}
	return &Writer{root: root, chown: chown}, nil
}

// Close closes the directory.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parent != nil {
		w.parent.Close()
	}
	return w.root.Close()
}

// openDir opens a directory below the root.
func (w *Writer) openDir(name string) (*os.File, error) {
	fd, err := unix.Openat2(int(w.root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open directory", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// inParent calls fn with the descriptor of the parent directory of name and
// the last element of name.
func (w *Writer) inParent(name string, fn func(dirfd int, base string) error) error {
	dir, base := path.Dir(name), path.Base(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parent == nil || w.parentName != dir {
		f, err := w.openDir(dir)
		if err != nil {
			return err
		}
		if w.parent != nil {
			w.parent.Close()
		}
		w.parent, w.parentName = f, dir
	}
	if err := fn(int(w.parent.Fd()), base); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// Remove removes what is at name, with everything below it. Nothing there is
// no error.
func (w *Writer) Remove(name string) error {
	w.mu.Lock()
	if w.parent != nil {
		// The cached directory may be below name.
		w.parent.Close()
		w.parent = nil
	}
	w.mu.Unlock()
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", w.root.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(name)
}

// Make creates a directory, symbolic link, device or fifo. The directory may
// be there already. Times of directories are set by Finish, when nothing is
// written into them any more.
func (w *Writer) Make(st *fsutil.Stat) error {
	mode := fs.FileMode(st.GetMode())
	return w.inParent(st.GetPath(), func(dirfd int, base string) error {
		var err error
		switch {
		case mode.IsDir():
			// Writable until Finish.
			if err = unix.Mkdirat(dirfd, base, 0o700); errors.Is(err, unix.EEXIST) {
				err = nil
			}
			return err
		case mode&fs.ModeSymlink != 0:
			err = unix.Symlinkat(st.GetLinkname(), dirfd, base)
		case mode&fs.ModeNamedPipe != 0:
			err = unix.Mknodat(dirfd, base, unix.S_IFIFO|0o600, 0)
		case mode&fs.ModeDevice != 0:
			kind := uint32(unix.S_IFBLK)
			if mode&fs.ModeCharDevice != 0 {
				kind = unix.S_IFCHR
			}
			dev := unix.Mkdev(uint32(st.GetDevmajor()), uint32(st.GetDevminor()))
			err = unix.Mknodat(dirfd, base, kind|0o600, int(dev))
		default:
			return fmt.Errorf("file type %v cannot be written", mode.Type())
		}
		if err != nil {
			return err
		}
		return w.attributes(dirfd, base, st)
	})
}

// attributes sets owner, mode and time of anything by name, never through a
// link.
func (w *Writer) attributes(dirfd int, base string, st *fsutil.Stat) error {
	mode := fs.FileMode(st.GetMode())
	if w.chown {
		if err := unix.Fchownat(dirfd, base, int(st.GetUid()), int(st.GetGid()), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	if mode&fs.ModeSymlink == 0 {
		if err := unix.Fchmodat(dirfd, base, unixMode(mode), 0); err != nil {
			return err
		}
	}
	t := time.Unix(0, st.GetModTime())
	ts := []unix.Timespec{unix.NsecToTimespec(t.UnixNano()), unix.NsecToTimespec(t.UnixNano())}
	if err := unix.UtimesNanoAt(dirfd, base, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return w.xattrs(dirfd, base, st)
}

func (w *Writer) xattrs(dirfd int, base string, st *fsutil.Stat) error {
	for k, v := range st.GetXattrs() {
		// Without privilege some namespaces are refused; the predecessor's
		// receivers ignore that as well.
		err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dirfd, base), k, v, 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set extended attribute %s: %w", k, err)
		}
	}
	return nil
}

// Create makes a regular file that must not exist. It is writable by this
// process until Complete.
func (w *Writer) Create(name string) (*os.File, error) {
	var f *os.File
	err := w.inParent(name, func(dirfd int, base string) error {
		fd, err := unix.Openat(dirfd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	return f, err
}

// Complete sets the attributes of a file that Create made, and closes it.
func (w *Writer) Complete(f *os.File, st *fsutil.Stat) error {
	defer f.Close()
	fd := int(f.Fd())
	if w.chown && (st.GetUid() != 0 || st.GetGid() != 0) {
		if err := unix.Fchown(fd, int(st.GetUid()), int(st.GetGid())); err != nil {
			return &fs.PathError{Op: "chown", Path: st.GetPath(), Err: err}
		}
	}
	if mode := unixMode(fs.FileMode(st.GetMode())); mode != 0o600 {
		if err := unix.Fchmod(fd, mode); err != nil {
			return &fs.PathError{Op: "chmod", Path: st.GetPath(), Err: err}
		}
	}
	if len(st.GetXattrs()) > 0 {
		if err := w.inParent(st.GetPath(), func(dirfd int, base string) error { return w.xattrs(dirfd, base, st) }); err != nil {
			return err
		}
	}
	t := unix.NsecToTimespec(st.GetModTime())
	// A null path makes the kernel act on the descriptor itself.
	if err := futimens(fd, [2]unix.Timespec{t, t}); err != nil {
		return &fs.PathError{Op: "set times", Path: st.GetPath(), Err: err}
	}
	return nil
}

// Link makes st.Path a hard link to st.Linkname.
func (w *Writer) Link(st *fsutil.Stat) error {
	dir, err := w.openDir(path.Dir(st.GetLinkname()))
	if err != nil {
		return err
	}
	defer dir.Close()
	return w.inParent(st.GetPath(), func(dirfd int, base string) error {
		return unix.Linkat(int(dir.Fd()), path.Base(st.GetLinkname()), dirfd, base, 0)
	})
}

// Finish sets the attributes of directories, which come in path order.
func (w *Writer) Finish(dirs []*fsutil.Stat) error {
	for i := len(dirs) - 1; i >= 0; i-- {
		st := dirs[i]
		if err := w.inParent(st.GetPath(), func(dirfd int, base string) error {
			return w.attributes(dirfd, base, st)
		}); err != nil {
			return err
		}
	}
	return nil
}

// unixMode turns Go's mode bits into those of chmod(2).
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		mode |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		mode |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		mode |= unix.S_ISVTX
	}
	return mode
}
