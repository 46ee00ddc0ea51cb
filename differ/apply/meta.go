package apply

import (
	"archive/tar"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// describe makes the index entry that a header asks for, attributes included;
// size, digests and device numbers are the caller's.
func (x *extractor) describe(hdr *tar.Header, path string, kind layerindex.Kind) *layerindex.Entry {
	e := &layerindex.Entry{
		Path:    path,
		Kind:    kind,
		Mode:    uint32(hdr.Mode) & 0o7777,
		UID:     uint32(hdr.Uid),
		GID:     uint32(hdr.Gid),
		ModTime: nanoseconds(hdr.ModTime),
	}
	if o := x.opts.Owner; o != nil {
		e.UID, e.GID = o.UID, o.GID
	}
	if kind == layerindex.Symlink {
		e.Mode, e.LinkName = 0o777, hdr.Linkname
	}
	if len(hdr.PAXRecords) > 0 {
		e.SetXattrs(maps.Collect(x.xattrs(hdr)))
	}
	return e
}

// xattrs yields the attributes of an entry that may be set.
func (x *extractor) xattrs(hdr *tar.Header) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		if x.opts.NoXattrs {
			return
		}
		for record, value := range hdr.PAXRecords {
			key, ok := strings.CutPrefix(record, paxXattr)
			// Attack: a layer that forges overlayfs's marks ("redirect" can show a
			// directory of another place in the layers). Trusted attributes as a whole
			// are the administrator's.
			if !ok || strings.HasPrefix(key, "trusted.") || x.tree.attrs.Own(key) {
				continue
			}
			if !yield(key, value) {
				return
			}
		}
	}
}

// applyHandle sets owner, attributes and mode of an opened file or directory.
// The order matters: changing the owner drops setuid bits and capabilities.
func (x *extractor) applyHandle(fd int, e *layerindex.Entry, hdr *tar.Header) error {
	if !x.opts.NoChown {
		if err := unix.Fchown(fd, int(e.UID), int(e.GID)); err != nil {
			return x.chownError(e, err)
		}
	}
	if err := x.setXattrs(fd, "", e, hdr); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, e.Mode); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return nil
}

// applyName does the same for a file that cannot be opened.
func (x *extractor) applyName(dir int, base string, e *layerindex.Entry, hdr *tar.Header) error {
	if !x.opts.NoChown {
		if err := unix.Fchownat(dir, base, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return x.chownError(e, err)
		}
	}
	if err := x.setXattrs(dir, base, e, hdr); err != nil {
		return err
	}
	if e.Kind == layerindex.Symlink {
		return nil // its mode means nothing
	}
	// chmod follows links, so the file is pinned first and then changed through
	// the pin's magic link.
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), e.Mode); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return nil
}

// chownError explains the usual cause.
func (x *extractor) chownError(e *layerindex.Entry, err error) error {
	if x.userns && errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("set owner %d:%d: %w (not in the id map of this user namespace: extend /etc/subuid and /etc/subgid)", e.UID, e.GID, err)
	}
	return fmt.Errorf("set owner %d:%d: %w", e.UID, e.GID, err)
}

// setXattrs sets the attributes of the file base in dir, or of the handle dir
// for the empty name. Attributes the file system cannot hold are left out, from
// the entry too.
func (x *extractor) setXattrs(dir int, base string, e *layerindex.Entry, hdr *tar.Header) error {
	for key, value := range x.xattrs(hdr) {
		err := setXattr(dir, base, key, value)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOTSUP), refusesUser(e.Kind, key, err):
			e.Xattrs = withoutXattr(e.Xattrs, key)
		default:
			return fmt.Errorf("set attribute %.100q: %w", key, err)
		}
	}
	return nil
}

// refusesUser recognises the kernel's rule that only files and directories have
// user attributes.
func refusesUser(kind layerindex.Kind, key string, err error) bool {
	return errors.Is(err, unix.EPERM) && strings.HasPrefix(key, "user.") &&
		kind != layerindex.Regular && kind != layerindex.Directory
}

// setXattr uses the handle itself where it can.
func setXattr(dir int, base, key, value string) error {
	if base == "" {
		return unix.Fsetxattr(dir, key, []byte(value), 0)
	}
	return inode.SetXattr(dir, base, key, value)
}

// withoutXattr drops one key.
func withoutXattr(list []layerindex.Xattr, key string) []layerindex.Xattr {
	var out []layerindex.Xattr
	for _, x := range list {
		if x.Key != key {
			out = append(out, x)
		}
	}
	return out
}

// date sets the times of a file.
func (x *extractor) date(dir int, base string, hdr *tar.Header) error {
	mtime := unix.NsecToTimespec(nanoseconds(hdr.ModTime))
	atime := mtime
	if hdr.AccessTime.After(hdr.ModTime) {
		atime = unix.NsecToTimespec(nanoseconds(hdr.AccessTime))
	}
	if err := setTimes(dir, base, atime, mtime); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// setTimes never follows a link.
func setTimes(dir int, base string, atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// nanoseconds converts a time; what int64 cannot hold, like the zero time, is
// 1970.
func nanoseconds(t time.Time) int64 {
	if s := t.Unix(); s > math.MaxInt64/1_000_000_000-1 || s < -math.MaxInt64/1_000_000_000+1 {
		return 0
	}
	return t.UnixNano()
}
