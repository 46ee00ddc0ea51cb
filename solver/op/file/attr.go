package file

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// permBits are permissions, setuid, setgid and sticky.
const permBits = 0o7777

// maxXattr is the kernel's limit for a value and for the list of names.
const maxXattr = 64 << 10

// owner is who owns a file.
type owner struct{ uid, gid int }

// setTimes dates name in the directory dir, not what a link points to; dir
// itself for the empty name.
func setTimes(dir int, name string, times []unix.Timespec) error {
	if name == "" {
		name = "."
	}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// fdPath names an open file for calls that take no handle. The kernel resolves
// it to the file itself, not by its path.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) + "/." }

// filePath names an open file that is no directory.
func filePath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// namePath names a file in an open directory. Calls that do not follow links
// reach that file and nothing else.
func namePath(dir int, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
}

// ownAttr reports attributes that are overlay's own business: copied into
// another layer they would hide files or send reads to the wrong ones.
func ownAttr(key string) bool {
	return strings.HasPrefix(key, "trusted.overlay.") || strings.HasPrefix(key, "user.overlay.")
}

// xattrCalls reach the attributes of a file.
type xattrCalls struct {
	list func(path string, dest []byte) (int, error)
	get  func(path, attr string, dest []byte) (int, error)
	set  func(path, attr string, data []byte, flags int) error
}

var (
	// notFollowing is for names, which may be links.
	notFollowing = xattrCalls{unix.Llistxattr, unix.Lgetxattr, unix.Lsetxattr}
	// following is for filePath, which is a link of the kernel's.
	following = xattrCalls{unix.Listxattr, unix.Getxattr, unix.Setxattr}
)

// copyXattrs copies attributes between names or directories.
func copyXattrs(from, to string) error { return notFollowing.copy(from, to) }

// copy copies all attributes but overlay's. What the file system of the copy
// does not hold is left out.
func (x xattrCalls) copy(from, to string) error {
	keys, err := x.keys(from)
	if err != nil {
		return err
	}
	var buf []byte
	// The buffer is large and rarely needed: most files have no attributes.
	for _, key := range keys {
		if ownAttr(key) {
			continue
		}
		if buf == nil {
			buf = make([]byte, maxXattr)
		}
		n, err := x.get(from, key, buf)
		if err == nil {
			err = x.set(to, key, buf[:n], 0)
		}
		if err != nil && !tolerated(err) {
			return err
		}
	}
	return nil
}

// keys lists the names of the attributes.
func (x xattrCalls) keys(path string) ([]string, error) {
	// On the stack, as this runs for every file.
	var small [512]byte
	buf := small[:]
	n, err := x.list(path, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxXattr)
		n, err = x.list(path, buf)
	}
	if err != nil && !tolerated(err) {
		return nil, err
	}
	if err != nil || n == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

// tolerated reports errors that mean that an attribute cannot be kept here,
// which is not worth a failed build.
func tolerated(err error) bool {
	for _, e := range []error{unix.ENOTSUP, unix.ENODATA, unix.EPERM, unix.EACCES, unix.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
