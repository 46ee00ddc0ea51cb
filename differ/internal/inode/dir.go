package inode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const openDirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// direntBuffer is how much is read of a directory at once.
const direntBuffer = 32 << 10

// Stat is what lstat tells.
type Stat = unix.Stat_t

// CheckName refuses what is not exactly one path component.
func CheckName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is not a file name: %w", name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// OpenRoot opens the directory at a trusted path, following links in it.
func OpenRoot(path string) (int, error) {
	fd, err := unix.Open(path, openDirFlags&^unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open directory %s: %w", path, err)
	}
	return fd, nil
}

// OpenDir opens directory name in dir. A symbolic link fails with ENOTDIR or
// ELOOP.
func OpenDir(dir int, name string) (int, error) {
	if err := CheckName(name); err != nil {
		return -1, err
	}
	return retry(func() (int, error) { return unix.Openat(dir, name, openDirFlags, 0) })
}

// OpenPath opens the directory at a clean relative path below root, one
// component at a time, so that no component can be a link. The empty path
// opens root again.
func OpenPath(root int, path string) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(root, ".", openDirFlags, 0) })
	if err != nil || path == "" {
		return fd, err
	}
	for part := range strings.SplitSeq(path, "/") {
		next, err := OpenDir(fd, part)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
		fd = next
	}
	return fd, nil
}

// OpenFile opens name in dir for reading. It must be known to be a regular
// file: O_NONBLOCK only keeps a fifo that took its place from blocking.
func OpenFile(dir int, name string) (int, error) {
	if err := CheckName(name); err != nil {
		return -1, err
	}
	return retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
}

// Lstat describes name in dir.
func Lstat(dir int, name string) (Stat, error) {
	var st Stat
	if err := CheckName(name); err != nil {
		return st, err
	}
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// Fstat describes the handle itself.
func Fstat(fd int) (Stat, error) {
	var st Stat
	err := unix.Fstat(fd, &st)
	return st, err
}

// IsDir reports whether st is of a directory.
func IsDir(st *Stat) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether st is of a regular file.
func IsRegular(st *Stat) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// Missing reports whether err says that the file, or a directory on the way to
// it, is not there.
func Missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// Names lists the entries of a directory in byte order.
func Names(dir int) ([]string, error) {
	// A descriptor of its own, so that the position of dir does not matter.
	fd, err := retry(func() (int, error) { return unix.Openat(dir, ".", openDirFlags, 0) })
	if err != nil {
		return nil, fmt.Errorf("open directory again: %w", err)
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, direntBuffer)
	for {
		n, err := retry(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil {
			return nil, fmt.Errorf("read directory: %w", err)
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}

// Readlink returns the target of symbolic link name in dir.
func Readlink(dir int, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// RemoveAll removes name in dir and all below it. A name that is not there is
// no error.
func RemoveAll(dir int, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	fd, err := OpenDir(dir, name)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	defer unix.Close(fd)
	names, err := Names(fd)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	for _, n := range names {
		if err := RemoveAll(fd, n); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
