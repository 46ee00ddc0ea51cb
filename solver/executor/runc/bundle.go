package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/core/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor"
)

// bundle is a container's directory and what is mounted in it.
type bundle struct {
	id   string
	dir  string
	root string // mounted root file system
	spec *specs.Spec
	// net is the network the container is in.
	net attachment
	// foreign is how programs of the container's platform run.
	foreign foreign
	// mount mounts containerd mounts, see Config.Mount.
	mount func(mounts []mount.Mount, target string) error
	// undo is called in reverse.
	undo []func() error
}

func (b *bundle) log() string { return filepath.Join(b.dir, "runtime.log") }

// remove undoes everything, as far as it got.
func (b *bundle) remove() error {
	var errs []error
	for i := len(b.undo) - 1; i >= 0; i-- {
		errs = append(errs, b.undo[i]())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up container %s: %w", b.id, err)
	}
	return nil
}

// prepare makes a container's bundle.
func (e *Executor) prepare(ctx context.Context, id string, c *executor.Container) (b *bundle, err error) {
	b = &bundle{id: id, dir: filepath.Join(e.cfg.Root, id), mount: e.cfg.Mount, foreign: e.foreign(ctx, c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.remove())
			b = nil
		}
	}()
	if err := os.Mkdir(b.dir, 0o711); err != nil {
		return b, fmt.Errorf("create bundle: %w", err)
	}
	b.undo = append(b.undo, func() error { return os.RemoveAll(b.dir) })
	if err := e.join(ctx, b, c); err != nil {
		return b, err
	}
	b.root = filepath.Join(b.dir, "rootfs")
	if err := b.mountAt(c.Root.Mounts, b.root, false); err != nil {
		return b, fmt.Errorf("mount root file system: %w", err)
	}
	if err := b.trust(); err != nil {
		return b, err
	}
	mounts, err := b.mountAll(ctx, c.Mounts)
	if err != nil {
		return b, err
	}
	files, err := e.files(b, c)
	if err != nil {
		return b, err
	}
	if b.spec, err = e.newSpec(ctx, b, c, append(files, mounts...)); err != nil {
		return b, err
	}
	if err := b.makeStubs(c); err != nil {
		return b, err
	}
	return b, writeConfig(filepath.Join(b.dir, "config.json"), b.spec)
}

// mountAt mounts at a new directory, or file, and undoes that later.
func (b *bundle) mountAt(m []mount.Mount, target string, file bool) error {
	var err error
	if file {
		err = os.WriteFile(target, nil, 0o600)
	} else {
		err = os.Mkdir(target, 0o711)
	}
	if err != nil {
		return err
	}
	if err := b.mount(m, target); err != nil {
		return errors.Join(err, mount.UnmountAll(target, unix.MNT_DETACH))
	}
	b.undo = append(b.undo, func() error { return mount.UnmountAll(target, 0) })
	return nil
}

// mountAll prepares the container's own mounts, in order.
func (b *bundle) mountAll(ctx context.Context, in []executor.Mount) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, m := range in {
		mounts, release, err := m.Source.Mount(ctx)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Dest, err)
		}
		if release != nil {
			b.undo = append(b.undo, release)
		}
		target := filepath.Join(b.dir, "mount"+strconv.Itoa(i))
		sm, err := b.specMount(mounts, target, m)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Dest, err)
		}
		out = append(out, sm)
	}
	return out, nil
}

// specMount mounts a source in the bundle and returns the bind mount that
// puts it, or what the selector names in it, into the container.
func (b *bundle) specMount(mounts []mount.Mount, target string, m executor.Mount) (specs.Mount, error) {
	if len(mounts) == 1 && mounts[0].Type == "tmpfs" {
		return specs.Mount{Destination: m.Dest, Type: "tmpfs", Source: "tmpfs", Options: mounts[0].Options}, nil
	}
	file := false
	if len(mounts) == 1 && (mounts[0].Type == "bind" || mounts[0].Type == "rbind") {
		fi, err := os.Stat(mounts[0].Source)
		if err != nil {
			return specs.Mount{}, err
		}
		file = !fi.IsDir()
	}
	if err := b.mountAt(mounts, target, file); err != nil {
		return specs.Mount{}, err
	}
	source := target
	if m.Selector != "" && filepath.Clean("/"+m.Selector) != "/" {
		source = target + "-selected"
		if err := b.pin(target, m.Selector, source); err != nil {
			return specs.Mount{}, fmt.Errorf("select %q: %w", m.Selector, err)
		}
	}
	options := []string{"rbind"}
	if m.Readonly {
		options = append(options, "ro")
	}
	return specs.Mount{Destination: m.Dest, Type: "bind", Source: source, Options: options}, nil
}

// pin mounts what path names beneath root at target. The path is resolved by
// the kernel with root as its root, and the mount is made from the resolved
// descriptor: nobody can change what it means in between (a cache mount may be
// in use by another container meanwhile).
func (b *bundle) pin(root, path, target string) error {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(target, 0o711)
	} else {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return err
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("clone mount: %w", err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach mount: %w", err)
	}
	b.undo = append(b.undo, func() error { return mount.UnmountAll(target, 0) })
	return nil
}
