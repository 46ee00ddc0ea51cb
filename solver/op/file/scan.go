package file

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// maxScanned bounds how many files are looked at.
	maxScanned = 1 << 20
	// scanBuffer is how much is read of a directory at once.
	scanBuffer = 64 << 10
)

// Layout of a directory entry as the kernel returns it.
const (
	direntLen  = 16
	direntType = 18
	direntName = 19
)

// scan notes the inodes of all files in the layers below. Directory entries
// tell them without a look at each file. False if it is not sure to have all.
func (u *usedInodes) scan() bool {
	buf := make([]byte, scanBuffer)
	for _, path := range u.below {
		fd, err := unix.Open(path, dirFlags, 0)
		if err != nil {
			return false
		}
		var st unix.Stat_t
		ok := unix.Fstat(fd, &st) == nil && u.scanDir(fd, st.Dev, buf)
		unix.Close(fd)
		if !ok {
			return false
		}
	}
	return true
}

// scanDir notes the files of one directory and of those below it. A type the
// file system does not tell ends the scan: asking for each file would take
// longer than copying.
func (u *usedInodes) scanDir(fd int, dev uint64, buf []byte) bool {
	var dirs []string
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return false
		}
		if n == 0 {
			break
		}
		for b := buf[:n]; len(b) > direntName; {
			size := int(binary.NativeEndian.Uint16(b[direntLen:]))
			if size <= direntName || size > len(b) {
				return false
			}
			name := unix.ByteSliceToString(b[direntName:size])
			switch {
			case b[direntType] == unix.DT_UNKNOWN:
				return false
			case b[direntType] != unix.DT_DIR:
				u.inodes[inodeKey{dev, binary.NativeEndian.Uint64(b)}] = struct{}{}
			case name != "." && name != "..":
				dirs = append(dirs, name)
			}
			b = b[size:]
		}
		if len(u.inodes) > maxScanned {
			return false
		}
	}
	// After the directory was read: the buffer is shared by all.
	for _, name := range dirs {
		sub, err := unix.Openat(fd, name, dirFlags, 0)
		if err != nil {
			return false
		}
		ok := u.scanDir(sub, dev, buf)
		unix.Close(sub)
		if !ok {
			return false
		}
	}
	return true
}
