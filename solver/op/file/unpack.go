package file

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/differ/apply"
	"github.com/kilnbuild/kiln/differ/compress"
)

// unpack extracts the source into the destination if it is an archive; false
// if it is not.
func (c *copying) unpack(ctx context.Context, source string) (bool, error) {
	from, err := c.src.resolve(path.Join("/", source), true)
	if err != nil {
		return false, err
	}
	defer from.close()
	f, err := openRegular(from)
	if f == nil || err != nil {
		return false, err
	}
	defer f.Close()
	// The name says nothing: what begins like an archive is one.
	if !isArchive(f) {
		return false, nil
	}
	if c.dst.layered {
		// Entries may change files that other layers share.
		return false, errNotSimple
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	to, err := c.dst.resolve(path.Clean(cleanPath(c.a.GetDest())), true)
	if err != nil {
		return false, err
	}
	how := newDir{mode: defaultDirMode, owner: c.who, times: c.times}
	if to, err = makeAll(to, how); err != nil {
		return false, err
	}
	defer to.close()
	if err := extract(ctx, f, to.dir, c.who); err != nil {
		return false, fmt.Errorf("unpack %s: %w", from.path(), err)
	}
	return true, nil
}

// openRegular opens the file at a place; nil if there is no regular file.
func openRegular(p place) (*os.File, error) {
	st, ok, err := p.stat()
	if err != nil || !ok || !isRegular(&st) {
		return nil, nil //nolint:nilerr // copying says what is wrong
	}
	fd, err := unix.Openat(p.dir.up, p.rest[0], unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, p.dir.fault("open", p.rest[0], err)
	}
	return os.NewFile(uintptr(fd), p.path()), nil
}

// isArchive reports whether a file, decompressed, begins like a tar.
func isArchive(f io.Reader) bool {
	r, err := compress.NewReader(f, compress.Limits{})
	if err != nil {
		return false
	}
	defer r.Close()
	// An archive without a single entry counts as any other file.
	_, err = tar.NewReader(r).Next()
	return err == nil
}

// extract unpacks into a directory. Package apply keeps hostile entries in it:
// it is handed the directory itself, not a path.
func extract(ctx context.Context, f io.Reader, to *dir, who *owner) error {
	r, err := compress.NewReader(f, compress.Limits{})
	if err != nil {
		return err
	}
	defer r.Close()
	var opts apply.Options
	if who != nil {
		opts.Owner = &apply.Owner{UID: uint32(who.uid), GID: uint32(who.gid)}
	}
	up, err := to.writable()
	if err != nil {
		return err
	}
	fd, err := unix.Openat(up, ".", dirFlags, 0)
	if err != nil {
		return to.wrap("open", err)
	}
	dir := os.NewFile(uintptr(fd), to.path)
	defer dir.Close()
	return apply.ExtractTo(ctx, r, dir, opts)
}
