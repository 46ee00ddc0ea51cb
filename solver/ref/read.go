package ref

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/continuity/sysx"
	"github.com/containerd/errdefs"
	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

const (
	// MaxRead is how many bytes of a file one ReadFile returns at most.
	MaxRead = 64 << 20
	// MaxDir is how many names one ReadDir returns at most.
	MaxDir = 100_000
)

// Files reads in the directory that holds a file system. It never leads out of
// it, whatever the paths and links in it say.
type Files struct{ dir string }

// FilesIn returns the files of a directory, as Ref.Dir and Active.Dir give it.
func FilesIn(dir string) Files { return Files{dir} }

// reader reads in a file system whose paths and links come from strangers.
// Every path is opened by the kernel as if the root were "/" (openat2,
// RESOLVE_IN_ROOT), so neither ".." nor links lead out, and no link of /proc is
// followed; renaming while we look changes nothing about that.
type reader struct {
	root *os.File
}

// reading runs fn on the ref's files.
func (r *Ref) reading(ctx context.Context, fn func(Files) error) (err error) {
	dir, release, err := r.Dir(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return fn(Files{dir})
}

// open runs fn on the open root.
func (f Files) open(fn func(*reader) error) error {
	root, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fn(&reader{root: root})
}

// open opens p. Errors name p only, never the place on the host.
func (rd *reader) open(p string, flags int) (*os.File, error) {
	how := &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(int(rd.root.Fd()), path.Join("/", p), how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), p), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		}
		err = &fs.PathError{Op: "open", Path: p, Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
		}
		return nil, err
	}
}

// Stat describes the file at p; links on the way are followed, at the end not.
// The Path of the answer is the last component.
func (r *Ref) Stat(ctx context.Context, p string) (st *fsutil.Stat, err error) {
	if r == nil {
		return nil, notInScratch(p)
	}
	err = r.reading(ctx, func(f Files) error {
		st, err = f.Stat(p)
		return err
	})
	return st, err
}

// Stat is Ref.Stat.
func (f Files) Stat(p string) (st *fsutil.Stat, err error) {
	err = f.open(func(rd *reader) error {
		f, err := rd.open(p, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err = statOf(f, path.Base(path.Join("/", p)))
		return err
	})
	return st, err
}

// ReadFile returns up to length bytes of the regular file at p from offset on;
// length 0 means all the rest. More than MaxRead bytes is an error.
func (r *Ref) ReadFile(ctx context.Context, p string, offset, length int64) (data []byte, err error) {
	if r == nil {
		return nil, notInScratch(p)
	}
	err = r.reading(ctx, func(f Files) error {
		data, err = f.ReadFile(p, offset, length)
		return err
	})
	return data, err
}

// ReadFile is Ref.ReadFile.
func (f Files) ReadFile(p string, offset, length int64) (data []byte, err error) {
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("read %s: negative range: %w", p, errdefs.ErrInvalidArgument)
	}
	err = f.open(func(rd *reader) error {
		// A pipe without a writer would block without O_NONBLOCK.
		f, err := rd.open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return fmt.Errorf("read %s: not a regular file: %w", p, errdefs.ErrInvalidArgument)
		}
		rest := max(0, st.Size()-offset)
		if length == 0 || length > rest {
			length = rest
		}
		if length > MaxRead {
			return fmt.Errorf("read %s: %d bytes, at most %d at once: %w", p, length, MaxRead, errdefs.ErrOutOfRange)
		}
		data = make([]byte, length)
		n, err := f.ReadAt(data, offset)
		data = data[:n]
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	return data, err
}

// ReadDir describes what is directly in the directory p, sorted by name. With
// a pattern, in the syntax of .dockerignore, only names that it matches.
func (r *Ref) ReadDir(ctx context.Context, p, pattern string) (list []*fsutil.Stat, err error) {
	if r == nil {
		if path.Join("/", p) == "/" {
			return nil, nil
		}
		return nil, notInScratch(p)
	}
	err = r.reading(ctx, func(f Files) error {
		list, err = f.ReadDir(p, pattern)
		return err
	})
	return list, err
}

// ReadDir is Ref.ReadDir.
func (f Files) ReadDir(p, pattern string) (list []*fsutil.Stat, err error) {
	match, err := nameMatcher(pattern)
	if err != nil {
		return nil, err
	}
	err = f.open(func(rd *reader) error {
		dir, err := rd.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer dir.Close()
		names, err := dir.Readdirnames(MaxDir + 1)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(names) > MaxDir {
			return fmt.Errorf("read directory %s: more than %d names: %w", p, MaxDir, errdefs.ErrOutOfRange)
		}
		slices.Sort(names)
		in := &reader{root: dir}
		for _, name := range names {
			ok, err := match(name)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			f, err := in.open(name, unix.O_PATH|unix.O_NOFOLLOW)
			if err != nil {
				return err
			}
			st, err := statOf(f, name)
			f.Close()
			if err != nil {
				return err
			}
			list = append(list, st)
		}
		return nil
	})
	return list, err
}

func notInScratch(p string) error {
	return fmt.Errorf("open %s: no such file or directory: %w", p, errdefs.ErrNotFound)
}

// nameMatcher matches all names for an empty pattern.
func nameMatcher(pattern string) (func(string) (bool, error), error) {
	if pattern == "" {
		return func(string) (bool, error) { return true, nil }, nil
	}
	m, err := patternmatcher.New([]string{pattern})
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w: %w", pattern, err, errdefs.ErrInvalidArgument)
	}
	return func(name string) (bool, error) { return m.MatchesOrParentMatches(name) }, nil
}

// statOf describes an open file, links as links.
func statOf(f *os.File, name string) (*fsutil.Stat, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st := &fsutil.Stat{
		Path:    name,
		Mode:    uint32(info.Mode()),
		ModTime: info.ModTime().UnixNano(),
	}
	var sys unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &sys); err != nil {
		return nil, err
	}
	st.Uid, st.Gid = sys.Uid, sys.Gid
	switch {
	case info.Mode().IsRegular():
		st.Size = sys.Size
	case info.Mode()&fs.ModeDevice != 0:
		st.Devmajor, st.Devminor = int64(unix.Major(sys.Rdev)), int64(unix.Minor(sys.Rdev))
	case info.Mode()&fs.ModeSymlink != 0:
		st.Mode |= 0o777
		st.Size = sys.Size
		if st.Linkname, err = readlink(f); err != nil {
			return nil, err
		}
	}
	st.Xattrs = xattrsOf(f)
	return st, nil
}

// readlink reads the link that f was opened on.
func readlink(f *os.File) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	if err != nil {
		return "", fmt.Errorf("read link: %w", err)
	}
	return string(buf[:n]), nil
}

// xattrsOf reads what attributes there are, without those of overlay. Files
// without any, or on file systems that know none, give nil.
func xattrsOf(f *os.File) map[string][]byte {
	at := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return nil // the kernel has no call for attributes of an open link
	}
	names, err := sysx.Listxattr(at)
	if err != nil {
		return nil
	}
	var out map[string][]byte
	for _, name := range names {
		if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value, err := sysx.Getxattr(at, name)
		if err != nil {
			continue
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = value
	}
	return out
}
