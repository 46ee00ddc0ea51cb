package snapshotter

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// maxDepth bounds the nesting of directories that diskUsage follows. Each level
// costs a descriptor while it is open; a longer path than this can not be named
// by any system call, so only somebody out to exhaust descriptors makes one.
const maxDepth = 2048

// diskUsage counts what a directory tree occupies, its root included: blocks
// times 512 and inodes, each inode once. It follows no link and stays correct
// when entries vanish meanwhile.
func diskUsage(ctx context.Context, root string) (snapshots.Usage, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return snapshots.Usage{}, &os.PathError{Op: "open", Path: root, Err: err}
	}
	c := counter{linked: map[inode]bool{}, buf: make([]byte, 32<<10)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return snapshots.Usage{}, &os.PathError{Op: "stat", Path: root, Err: err}
	}
	c.add(&st)
	if err := c.walk(ctx, fd, 1); err != nil {
		return snapshots.Usage{}, fmt.Errorf("count %s: %w", root, err)
	}
	return c.usage, nil
}

type inode struct{ dev, ino uint64 }

// counter sums up one tree.
type counter struct {
	usage  snapshots.Usage
	linked map[inode]bool // files with several links that were counted
	buf    []byte         // for directory entries, shared by all levels
}

func (c *counter) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		i := inode{st.Dev, st.Ino}
		if c.linked[i] {
			return
		}
		c.linked[i] = true
	}
	c.usage.Inodes++
	c.usage.Size += st.Blocks * 512
}

// walk counts the entries of an open directory and closes it.
func (c *counter) walk(ctx context.Context, fd, depth int) error {
	defer unix.Close(fd)
	if depth > maxDepth {
		return fmt.Errorf("directories are nested more than %d deep: %w", maxDepth, errdefs.ErrOutOfRange)
	}
	var dirs []string
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.ReadDirent(fd, c.buf)
		if err != nil {
			return fmt.Errorf("read directory: %w", err)
		}
		if n <= 0 {
			break
		}
		_, _, names := unix.ParseDirent(c.buf[:n], -1, nil)
		for _, name := range names {
			var st unix.Stat_t
			err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
			if err == unix.ENOENT {
				continue
			}
			if err != nil {
				return &os.PathError{Op: "stat", Path: name, Err: err}
			}
			c.add(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				dirs = append(dirs, name)
			}
		}
	}
	for _, name := range dirs {
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			continue // replaced meanwhile
		}
		if err != nil {
			return &os.PathError{Op: "open", Path: name, Err: err}
		}
		if err := c.walk(ctx, sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}
