package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	gorunc "github.com/containerd/go-runc"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// sweep removes what an earlier process left: containers, mounts, bundles.
func (e *Executor) sweep(ctx context.Context) error {
	root, err := filepath.EvalSymlinks(e.cfg.Root)
	if err != nil {
		return fmt.Errorf("executor directory: %w", err)
	}
	e.cfg.Root = root
	e.runtime.Root = filepath.Join(root, "state")
	states, err := os.ReadDir(e.runtime.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list left containers: %w", err)
	}
	for _, s := range states {
		// Failing is all right: what cannot be deleted may be half made.
		_ = e.runtime.Delete(ctx, s.Name(), &gorunc.DeleteOpts{Force: true})
		if err := os.RemoveAll(filepath.Join(e.runtime.Root, s.Name())); err != nil {
			return fmt.Errorf("remove left container: %w", err)
		}
	}
	if err := unmountBelow(root); err != nil {
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("list left bundles: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == "state" || entry.Name() == wrapperName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, entry.Name())); err != nil {
			return fmt.Errorf("remove left bundle: %w", err)
		}
	}
	return nil
}

// unmountBelow unmounts everything below a directory, the deepest first.
func unmountBelow(root string) error {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return fmt.Errorf("list left mounts: %w", err)
	}
	slices.SortFunc(infos, func(a, b *mountinfo.Info) int { return len(b.Mountpoint) - len(a.Mountpoint) })
	for _, m := range infos {
		if m.Mountpoint == root {
			continue
		}
		if err := mount.UnmountAll(m.Mountpoint, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount left %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}
