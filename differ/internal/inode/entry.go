package inode

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// permBits are the mode bits a tar and an index keep.
const permBits = 0o7777

// Describe fills the entry of a file from its status: all fields but the link
// name, attributes and digests.
func Describe(path string, st *Stat) *layerindex.Entry {
	e := &layerindex.Entry{
		Path:    path,
		Mode:    st.Mode & permBits,
		UID:     st.Uid,
		GID:     st.Gid,
		ModTime: Nanoseconds(st.Mtim.Sec, st.Mtim.Nsec),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Kind, e.Size = layerindex.Regular, st.Size
	case unix.S_IFDIR:
		e.Kind = layerindex.Directory
	case unix.S_IFLNK:
		e.Kind = layerindex.Symlink
	case unix.S_IFCHR:
		e.Kind = layerindex.CharDevice
	case unix.S_IFBLK:
		e.Kind = layerindex.BlockDevice
	case unix.S_IFIFO:
		e.Kind = layerindex.Fifo
	case unix.S_IFSOCK:
		e.Kind = layerindex.Socket
	}
	if e.Kind == layerindex.CharDevice || e.Kind == layerindex.BlockDevice {
		e.DevMajor, e.DevMinor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return e
}

// Nanoseconds joins seconds and nanoseconds, saturating: file systems hold
// times that int64 nanoseconds do not.
func Nanoseconds(sec, nsec int64) int64 {
	const limit = math.MaxInt64 / 1_000_000_000
	switch {
	case sec >= limit:
		return math.MaxInt64
	case sec <= -limit:
		return math.MinInt64
	}
	return sec*1_000_000_000 + nsec
}

// Read completes an entry from the file itself: link name, those attributes
// that keep accepts (nil keeps all), and the digests, for which it reads a
// regular file. A file that changes length while it is read is an error.
func Read(dir int, name string, e *layerindex.Entry, keep func(key string) bool) error {
	if e.Kind == layerindex.Symlink {
		target, err := Readlink(dir, name)
		if err != nil {
			return fmt.Errorf("read link %s: %w", e.Path, err)
		}
		e.LinkName = target
	}
	if err := ReadXattrs(dir, name, e, keep); err != nil {
		return err
	}
	if e.Kind != layerindex.Regular || e.Size == 0 {
		e.Seal()
		return nil
	}
	fd, err := OpenFile(dir, name)
	if err != nil {
		return fmt.Errorf("open %s: %w", e.Path, err)
	}
	defer unix.Close(fd)
	return Hash(fd, e, layerindex.NewHasher(), make([]byte, 128<<10))
}

// ReadXattrs sets the entry's attributes from the file.
func ReadXattrs(dir int, name string, e *layerindex.Entry, keep func(key string) bool) error {
	keys, err := ListXattr(dir, name)
	if err != nil {
		return fmt.Errorf("list attributes of %s: %w", e.Path, err)
	}
	attrs := map[string]string{}
	for _, key := range keys {
		if !layerindex.HashedXattr(key) || keep != nil && !keep(key) {
			continue
		}
		value, ok, err := GetXattr(dir, name, key)
		if err != nil {
			return fmt.Errorf("read attribute %s of %s: %w", key, e.Path, err)
		}
		if ok {
			attrs[key] = value
		}
	}
	e.SetXattrs(attrs)
	return nil
}

// Hash reads the open file fd and stores the digests in e, whose header fields
// must be final. h and buf are scratch.
func Hash(fd int, e *layerindex.Entry, h *layerindex.Hasher, buf []byte) error {
	h.Reset(e)
	n, err := Copy(h, fd, buf)
	if err != nil {
		return fmt.Errorf("read %s: %w", e.Path, err)
	}
	if n != e.Size {
		return fmt.Errorf("%s changed from %d to %d bytes while it was read", e.Path, e.Size, n)
	}
	h.Finish(e)
	return nil
}

// Copy writes all of fd from its position to w and returns the number of bytes.
func Copy(w io.Writer, fd int, buf []byte) (int64, error) {
	var total int64
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return total, err
		case n == 0:
			return total, nil
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return total, err
		}
		total += int64(n)
	}
}
