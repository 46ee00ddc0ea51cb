package apply

import (
	"archive/tar"
	"fmt"
	"math"
	"path"
	"strings"
)

// paxXattr prefixes the PAX records that carry extended attributes.
const paxXattr = "SCHILY.xattr."

// cleanName makes an entry name relative to the root and clean.
func cleanName(name string, limit int) (string, error) {
	// Attack: names that make the daemon's memory or the index explode.
	if len(name) > limit {
		return "", fmt.Errorf("name of %d bytes: %w", len(name), ErrRefused)
	}
	// Attack: a NUL cuts the name short in the kernel, so that checks and
	// system call see different names.
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("name holds a NUL: %w", ErrRefused)
	}
	rel := path.Clean(strings.TrimLeft(name, "/"))
	// Attack: path traversal, "../../etc/cron.d/x".
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("name leads out of the root (path traversal): %w", ErrRefused)
	}
	if rel == "." {
		rel = ""
	}
	return rel, nil
}

// splitName splits a clean name into parent directory and base.
func splitName(name string) (dir, base string) {
	cut := strings.LastIndexByte(name, '/')
	return name[:max(cut, 0)], name[cut+1:]
}

// joinPath is the inverse of splitName.
func joinPath(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}

// budget counts what has been spent of the limits.
type budget struct {
	limits  Limits
	entries int
	bytes   int64
	sparse  int64
}

// charge accounts for one entry and checks its header values.
func (b *budget) charge(hdr *tar.Header) error {
	// Attack: millions of tiny entries that exhaust inodes and memory.
	if b.entries++; b.entries > b.limits.MaxEntries {
		return fmt.Errorf("archive has more than %d entries: %w", b.limits.MaxEntries, ErrRefused)
	}
	// Attack: sizes that overflow the sums below.
	if hdr.Size < 0 || hdr.Size > math.MaxInt64-b.bytes {
		return fmt.Errorf("size %d: %w", hdr.Size, ErrRefused)
	}
	b.bytes += hdr.Size
	if b.limits.MaxBytes > 0 && b.bytes > b.limits.MaxBytes {
		return fmt.Errorf("archive holds more than %d bytes: %w", b.limits.MaxBytes, ErrRefused)
	}
	if isSparse(hdr) {
		// Attack: a sparse bomb, a few bytes that unpack to exabytes of zeros.
		if b.sparse += hdr.Size; b.sparse > b.limits.MaxSparseBytes {
			return fmt.Errorf("sparse files of more than %d bytes: %w", b.limits.MaxSparseBytes, ErrRefused)
		}
	}
	if len(hdr.Linkname) > b.limits.MaxPath || strings.IndexByte(hdr.Linkname, 0) >= 0 {
		return fmt.Errorf("link target is too long or holds a NUL: %w", ErrRefused)
	}
	// Attack: an id of -1 makes chown keep the extracting user, root, as owner.
	if !validID(hdr.Uid) || !validID(hdr.Gid) {
		return fmt.Errorf("owner %d:%d is out of range: %w", hdr.Uid, hdr.Gid, ErrRefused)
	}
	return b.checkXattrs(hdr)
}

// checkXattrs bounds number and size of attributes.
func (b *budget) checkXattrs(hdr *tar.Header) error {
	count := 0
	for key, value := range hdr.PAXRecords {
		if !strings.HasPrefix(key, paxXattr) {
			continue
		}
		count++
		// Attack: attributes kept in memory for the index until it is full.
		if count > b.limits.MaxXattrs || len(value) > b.limits.MaxXattr || len(key) > len(paxXattr)+255 {
			return fmt.Errorf("extended attributes exceed the limits: %w", ErrRefused)
		}
	}
	return nil
}

// validID accepts what a kernel takes for an id: 2^32-1 means "no change".
func validID(id int) bool { return id >= 0 && int64(id) < math.MaxUint32 }

// device returns the numbers of a device entry.
func device(hdr *tar.Header) (major, minor uint32, err error) {
	// Attack: numbers that wrap around to those of another device.
	if hdr.Devmajor < 0 || hdr.Devmajor > math.MaxUint32 || hdr.Devminor < 0 || hdr.Devminor > math.MaxUint32 {
		return 0, 0, fmt.Errorf("device number %d:%d is out of range: %w", hdr.Devmajor, hdr.Devminor, ErrRefused)
	}
	return uint32(hdr.Devmajor), uint32(hdr.Devminor), nil
}

// isSparse reports whether an entry was stored with holes.
func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
