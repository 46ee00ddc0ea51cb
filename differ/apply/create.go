package apply

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// copyBuffer is how much file data moves at once.
const copyBuffer = 256 << 10

// sparseBlock is the unit in which zeros are skipped to keep holes.
const sparseBlock = 4 << 10

// create makes one file of any type but a hard link.
func (x *extractor) create(ctx context.Context, hdr *tar.Header, parent node, base string, data io.Reader) error {
	path := joinPath(parent.path, base)
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse: //nolint:staticcheck // old archives have TypeRegA
		return x.regular(ctx, hdr, parent, base, data)
	case tar.TypeDir:
		return x.directory(hdr, parent, base)
	case tar.TypeSymlink:
		// Attack: none here. A link may point anywhere, it is never followed by
		// the kernel on our behalf.
		e := x.describe(hdr, path, layerindex.Symlink)
		return x.special(hdr, parent, base, e, func() error { return unix.Symlinkat(hdr.Linkname, parent.fd, base) })
	case tar.TypeFifo:
		e := x.describe(hdr, path, layerindex.Fifo)
		return x.special(hdr, parent, base, e, func() error { return unix.Mknodat(parent.fd, base, unix.S_IFIFO|0o600, 0) })
	case tar.TypeChar:
		return x.device(hdr, parent, base, layerindex.CharDevice, unix.S_IFCHR)
	case tar.TypeBlock:
		return x.device(hdr, parent, base, layerindex.BlockDevice, unix.S_IFBLK)
	}
	return fmt.Errorf("entry type %q is unknown: %w", hdr.Typeflag, ErrRefused)
}

// regular writes a file, hashing on the way.
func (x *extractor) regular(ctx context.Context, hdr *tar.Header, parent node, base string, data io.Reader) error {
	var fd int
	// O_EXCL makes a file of our own. Attack: an earlier entry left a hard link
	// to a file of a lower layer, or a symbolic link, and this one writes through
	// it.
	err := x.replacing(parent, base, func() (err error) {
		fd, err = createFile(parent.fd, base)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	e := x.describe(hdr, joinPath(parent.path, base), layerindex.Regular)
	e.Size = hdr.Size
	// Attributes that the file system does not take must not be in the digest, so
	// they are tried before the bytes are hashed. Capabilities are dropped by the
	// write and set again after it.
	if e.Size > 0 && len(e.Xattrs) > 0 {
		if err := x.setXattrs(fd, "", e, hdr); err != nil {
			return err
		}
	}
	if err := x.write(ctx, fd, e, isSparse(hdr), data); err != nil {
		return err
	}
	if err := x.applyHandle(fd, e, hdr); err != nil {
		return err
	}
	if e.Size == 0 {
		e.Seal() // attributes may have been refused after the header was hashed
	}
	x.tree.index.Put(e)
	return x.date(parent.fd, base, hdr)
}

// write copies the data of an entry to fd and computes its digests.
func (x *extractor) write(ctx context.Context, fd int, e *layerindex.Entry, sparse bool, data io.Reader) error {
	if x.hash {
		x.hasher.Reset(e)
	}
	var off int64
	for off < e.Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(data, x.buf[:min(int64(len(x.buf)), e.Size-off)])
		if err != nil {
			return fmt.Errorf("read data: %w", err)
		}
		if x.hash {
			x.hasher.Write(x.buf[:n])
		}
		if sparse {
			err = writeHoles(fd, x.buf[:n], off)
		} else {
			_, err = fdWriter(fd).Write(x.buf[:n])
		}
		if err != nil {
			return fmt.Errorf("write data: %w", err)
		}
		off += int64(n)
	}
	if sparse {
		if err := unix.Ftruncate(fd, e.Size); err != nil {
			return fmt.Errorf("set size: %w", err)
		}
	}
	if x.hash {
		x.hasher.Finish(e)
	}
	return nil
}

// writeHoles writes those blocks of p that are not all zero.
func writeHoles(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		block := p[:min(sparseBlock, len(p))]
		p = p[len(block):]
		if !allZero(block) {
			if _, err := unix.Pwrite(fd, block, off); err != nil {
				return err
			}
		}
		off += int64(len(block))
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// directory makes a directory or takes over the one that is there.
func (x *extractor) directory(hdr *tar.Header, parent node, base string) error {
	path := joinPath(parent.path, base)
	e := x.describe(hdr, path, layerindex.Directory)
	err := unix.Mkdirat(parent.fd, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st inode.Stat
		if st, err = inode.Lstat(parent.fd, base); err == nil && !inode.IsDir(&st) {
			err = x.replaceByDir(parent, base)
			// What was here, a whiteout perhaps, hid the lower layers; a plain
			// directory would let them through again.
			e.Opaque = x.tree.layered
		}
	}
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	fd, err := inode.OpenDir(parent.fd, base)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer unix.Close(fd)
	if e.Opaque {
		if err := x.tree.attrs.SetOpaque(fd); err != nil {
			return fmt.Errorf("make opaque: %w", err)
		}
	}
	if err := x.applyHandle(fd, e, hdr); err != nil {
		return err
	}
	e.Seal()
	x.tree.index.Put(e)
	return nil
}

// replaceByDir removes a file and makes a directory of its name.
func (x *extractor) replaceByDir(parent node, base string) error {
	if err := x.remove(parent, base); err != nil {
		return err
	}
	return unix.Mkdirat(parent.fd, base, 0o700)
}

// device makes a device node.
func (x *extractor) device(hdr *tar.Header, parent node, base string, kind layerindex.Kind, format uint32) error {
	major, minor, err := device(hdr)
	if err != nil {
		return err
	}
	if kind == layerindex.CharDevice && major == 0 && minor == 0 && x.whiteouts {
		// Attack: a device 0:0 is overlayfs's whiteout. It means the same in every
		// kind of target, so that no two hosts see different files.
		return x.hide(parent, base)
	}
	if x.userns {
		return nil // the kernel lets nobody make devices here; runtimes bind them
	}
	e := x.describe(hdr, joinPath(parent.path, base), kind)
	e.DevMajor, e.DevMinor = major, minor
	return x.special(hdr, parent, base, e, func() error {
		return unix.Mknodat(parent.fd, base, format|0o600, int(unix.Mkdev(major, minor)))
	})
}

// special makes a file that has no data through mk and applies its metadata.
func (x *extractor) special(hdr *tar.Header, parent node, base string, e *layerindex.Entry, mk func() error) error {
	if err := x.replacing(parent, base, mk); err != nil {
		return err
	}
	if err := x.applyName(parent.fd, base, e, hdr); err != nil {
		return err
	}
	e.Seal()
	x.tree.index.Put(e)
	return x.date(parent.fd, base, hdr)
}

// replacing runs mk, which must fail with EEXIST if the name is taken, and if so
// removes what is there and runs it again.
func (x *extractor) replacing(parent node, base string, mk func() error) error {
	err := mk()
	if errors.Is(err, unix.EEXIST) {
		if err = x.remove(parent, base); err == nil {
			err = mk()
		}
	}
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	return nil
}

// remove deletes a file or tree of the target.
func (x *extractor) remove(parent node, base string) error {
	st, err := inode.Lstat(parent.fd, base)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if inode.IsDir(&st) || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		x.tree.forget()
	}
	return inode.RemoveAll(parent.fd, base)
}

// createFile makes a new regular file, private until its owner is set.
func createFile(dir int, name string) (int, error) {
	if err := inode.CheckName(name); err != nil {
		return -1, err
	}
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// fdWriter writes all bytes to a descriptor.
type fdWriter int

// Write repeats short and interrupted writes.
func (fd fdWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(int(fd), p[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
