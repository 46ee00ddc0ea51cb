package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// linkTree makes dst, an existing empty directory, equal to src: directories
// are made anew, all else, whiteouts included, becomes hard links. Both are
// layers of the snapshotter on one file system: src is committed and changes no
// more, dst is known to nobody else. So no component of a path can turn into a
// symbolic link meanwhile, and links themselves are never followed.
func linkTree(ctx context.Context, src, dst string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())
		if e.IsDir() {
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
			if err := linkTree(ctx, from, to); err != nil {
				return err
			}
			continue
		}
		if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, 0); err != nil {
			return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
		}
	}
	return copyAttributes(src, dst)
}

// copyAttributes gives the directory dst what the directory src has: owner,
// extended attributes (overlay's among them), mode and, last, times.
func copyAttributes(src, dst string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("attributes of %s: unknown format %T", src, info.Sys())
	}
	if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	names, err := sysx.LListxattr(src)
	if err != nil {
		return fmt.Errorf("list extended attributes of %s: %w", src, err)
	}
	for _, name := range names {
		value, err := sysx.LGetxattr(src, name)
		if err != nil {
			return fmt.Errorf("read extended attribute %s of %s: %w", name, src, err)
		}
		if err := sysx.LSetxattr(dst, name, value, 0); err != nil {
			return fmt.Errorf("set extended attribute %s of %s: %w", name, dst, err)
		}
	}
	// Changing the owner clears bits of the mode, so it comes after.
	if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: dst, Err: err}
	}
	times := []unix.Timespec{unix.NsecToTimespec(syscall.TimespecToNsec(st.Atim)), unix.NsecToTimespec(syscall.TimespecToNsec(st.Mtim))}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dst, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set times", Path: dst, Err: err}
	}
	return nil
}
