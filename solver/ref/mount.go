package ref

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Directories below Root.
const (
	mountsDir  = "mounts"
	indexesDir = "indexes"
)

// view is how the file system of an entry is reached: for a Ref a read-only
// snapshot, made for the first who wants it and removed when the entry leaves
// memory, and for both kinds one mount that all share, unmounted after the
// last. The snapshot costs transactions and nothing else, and who looked once
// looks again. The lock is held over I/O and taken before Store.mu.
type view struct {
	mu sync.Mutex
	// key and mounts of the read-only snapshot.
	key    string
	mounts []mount.Mount
	// path is where it is mounted, private whether that is ours to unmount;
	// users counts who uses it.
	path    string
	private bool
	users   int
}

// Mounts returns the mounts of the read-only file system, for a container's
// root or for mount.All, until release. Callers share one snapshot; release is
// safe to call more than once, also after the Ref's own Release.
func (r *Ref) Mounts(ctx context.Context) ([]mount.Mount, func() error, error) {
	v := &r.e.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.open(ctx, r.e); err != nil {
		return nil, nil, err
	}
	hold := (&Ref{e: r.e}).Hold()
	ctx = context.WithoutCancel(ctx)
	return slices.Clone(v.mounts), sync.OnceValue(func() error { return hold.Release(ctx) }), nil
}

// Dir returns a directory where the file system can be read, until release.
// It must not be written to. Callers share one mount; a file system of a
// single directory is that directory. release is safe to call more than once.
func (r *Ref) Dir(ctx context.Context) (dir string, release func() error, err error) {
	mounts, done, err := r.Mounts(ctx)
	if err != nil {
		return "", nil, err
	}
	dir, leave, err := r.e.view.dir(r.e.s, mounts)
	if err != nil {
		return "", nil, errors.Join(err, done())
	}
	return dir, sync.OnceValue(func() error { return errors.Join(leave(), done()) }), nil
}

// open makes the read-only snapshot if there is none. The lock is held.
func (v *view) open(ctx context.Context, e *entry) error {
	if v.key != "" {
		return nil
	}
	s := e.s
	vctx, err := s.viewContext(ctx)
	if err != nil {
		return err
	}
	key := "kiln-view-" + s.unique()
	mounts, err := s.cfg.Snapshotter.View(vctx, key, e.snapshot())
	if err != nil {
		return fmt.Errorf("view ref %s: %w", e.id, err)
	}
	v.key, v.mounts = key, mounts
	return nil
}

// remove removes the read-only snapshot. The lock is held.
func (v *view) remove(ctx context.Context, e *entry) error {
	if v.key == "" {
		return nil
	}
	vctx, err := e.s.viewContext(ctx)
	if err != nil {
		return err
	}
	if err := e.s.cfg.Snapshotter.Remove(vctx, v.key); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove view of ref %s: %w", e.id, err)
	}
	v.key, v.mounts = "", nil
	return nil
}

// dir mounts mounts, or joins those who did.
func (v *view) dir(s *Store, mounts []mount.Mount) (string, func() error, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.users == 0 {
		var err error
		if v.path, v.private, err = s.mountAt(mounts); err != nil {
			return "", nil, err
		}
	}
	v.users++
	return v.path, sync.OnceValue(func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.users--
		if v.users > 0 {
			return nil
		}
		return v.unmount()
	}), nil
}

// unmount undoes mountAt. The lock is held.
func (v *view) unmount() error {
	path := v.path
	v.path = ""
	if path == "" || !v.private {
		return nil
	}
	if err := mount.UnmountAll(path, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return os.Remove(path)
}

// busy reports whether somebody has the file system mounted through dir.
func (v *view) busy() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.users > 0
}

// close ends what holders forgot to release.
func (v *view) close(ctx context.Context, e *entry) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.unmount()
	v.users = 0
	return errors.Join(err, v.remove(ctx, e))
}

// mountAt mounts ms at a new place below Root, or returns the directory itself
// when that is all they are.
func (s *Store) mountAt(ms []mount.Mount) (path string, private bool, err error) {
	if len(ms) == 1 && (ms[0].Type == "bind" || ms[0].Type == "rbind") {
		return ms[0].Source, false, nil
	}
	path = filepath.Join(s.cfg.Root, mountsDir, s.unique())
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", false, fmt.Errorf("make mount point: %w", err)
	}
	if err := s.cfg.Mount(ms, path); err != nil {
		// Part of the list may be mounted.
		_ = mount.UnmountAll(path, 0)
		_ = os.Remove(path)
		return "", false, fmt.Errorf("mount %s: %w", path, err)
	}
	return path, true, nil
}

// unmountLeftovers unmounts and removes what a killed process left in dir. It
// touches nothing else: mount points are compared as whole path prefixes, and
// what remains is removed only as empty directories.
func unmountLeftovers(ctx context.Context, dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read mounts directory: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("resolve mounts directory: %w", err)
	}
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, resolved+"/"), false
	})
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	// The last mounted first, so that what is stacked comes off in order.
	for _, m := range slices.Backward(infos) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount leftover %s: %w", m.Mountpoint, err)
		}
	}
	for _, n := range names {
		// A directory that is not empty is not ours to delete.
		_ = os.Remove(filepath.Join(dir, n.Name()))
	}
	return nil
}

// diskFree returns the free bytes of the file system of path.
func diskFree(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
