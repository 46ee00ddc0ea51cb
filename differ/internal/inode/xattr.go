package inode

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattr is the kernel's limit for a value and for the list of names.
const maxXattr = 64 << 10

// procPath reaches name in dir for the l*xattr calls, which take no handle.
// The empty name is the directory itself; its magic link must be followed, so a
// dot is appended.
func procPath(dir int, name string) string {
	if name == "" {
		name = "."
	}
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
}

// ListXattr returns the attribute names of name in dir (of dir itself for the
// empty name). A file system without attributes has none.
func ListXattr(dir int, name string) ([]string, error) {
	var small [512]byte
	path := procPath(dir, name)
	n, err := retry(func() (int, error) { return unix.Llistxattr(path, small[:]) })
	buf := small[:]
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxXattr)
		n, err = retry(func() (int, error) { return unix.Llistxattr(path, buf) })
	}
	if noXattr(err) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

// GetXattr returns one attribute of name in dir; ok is false if it has none of
// that name.
func GetXattr(dir int, name, key string) (value string, ok bool, err error) {
	var small [512]byte
	path := procPath(dir, name)
	n, err := retry(func() (int, error) { return unix.Lgetxattr(path, key, small[:]) })
	buf := small[:]
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxXattr)
		n, err = retry(func() (int, error) { return unix.Lgetxattr(path, key, buf) })
	}
	if noXattr(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	return string(buf[:n]), true, nil
}

// SetXattr sets one attribute of name in dir.
func SetXattr(dir int, name, key, value string) error {
	_, err := retry(func() (int, error) {
		return 0, unix.Lsetxattr(procPath(dir, name), key, []byte(value), 0)
	})
	return err
}

// noXattr reports errors that mean "there is none".
func noXattr(err error) bool {
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP)
}
