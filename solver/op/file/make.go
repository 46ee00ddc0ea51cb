package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// mkdir makes a directory; whatever exists is left alone.
func mkdir(t *tree, a *pb.FileActionMkDir, who *owner) error {
	p, err := t.resolve(path.Join("/", a.GetPath()), true)
	if err != nil {
		return err
	}
	how := newDir{mode: uint32(a.GetMode()) & 0o777, owner: who, times: timesOf(a.GetTimestamp())}
	if !a.GetMakeParents() {
		// That something other than a directory is there is no error either: the
		// next step that needs the directory will say so.
		switch _, exists, err := p.stat(); {
		case err != nil || exists:
			p.close()
			return err
		case len(p.rest) > 1:
			p.close()
			return &fs.PathError{Op: "mkdir", Path: p.path(), Err: unix.ENOENT}
		}
	}
	if p, err = makeAll(p, how); err != nil {
		return err
	}
	defer p.close()
	return how.stamp(p.dir)
}

// symlinkOp names the making of a link in errors.
const symlinkOp = "symlink"

// leaf resolves a path to a directory and the name in it that something is to
// be made under. op names the operation in errors.
func leaf(t *tree, op, p string) (place, string, error) {
	at, err := t.resolve(path.Join("/", p), true)
	if err != nil {
		return place{}, "", err
	}
	fail := func(errno error) (place, string, error) {
		at.close()
		return place{}, "", &fs.PathError{Op: op, Path: at.path(), Err: errno}
	}
	switch _, _, err := at.stat(); {
	case len(at.rest) == 0 && op == symlinkOp:
		return fail(unix.EEXIST)
	case len(at.rest) == 0:
		return fail(unix.EISDIR)
	case err != nil:
		return fail(unix.ENOTDIR)
	case len(at.rest) > 1:
		return fail(unix.ENOENT)
	}
	return at, at.rest[0], nil
}

// mkfile makes a file or replaces what is in one, which keeps its mode and,
// unless another is given, its owner.
func mkfile(t *tree, a *pb.FileActionMkFile, who *owner) error {
	at, name, err := leaf(t, "open", a.GetPath())
	if err != nil {
		return err
	}
	defer at.close()
	flags := unix.O_CREAT | unix.O_EXCL
	// Looking before opening is no race: nobody else writes to this layer.
	switch st, err := at.dir.lstat(name); {
	case err == nil && !isRegular(&st):
		// Attack: a device node in an image. Writing to it would write to the
		// host's disk, and to a pipe would block for ever.
		return fmt.Errorf("open %s: not a regular file: %w", at.path(), errdefs.ErrInvalidArgument)
	case err == nil && t.layered:
		return errNotSimple // the bytes may be those of another layer's file
	case err == nil:
		flags = unix.O_TRUNC
	case !errors.Is(err, unix.ENOENT):
		return at.dir.fault("lstat", name, err)
	}
	up, err := at.dir.writable()
	if err != nil {
		return err
	}
	mode := uint32(a.GetMode()) & 0o777
	fd, err := unix.Openat(up, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags, mode)
	if err != nil {
		return at.dir.fault("open", name, err)
	}
	f := os.NewFile(uintptr(fd), at.path())
	defer f.Close()
	if _, err := f.Write(a.GetData()); err != nil {
		return err
	}
	if who != nil {
		if err := unix.Fchown(fd, who.uid, who.gid); err != nil {
			return at.dir.fault("chown", name, err)
		}
	}
	if flags&unix.O_EXCL != 0 {
		if err := unix.Fchmod(fd, mode); err != nil { // past the umask
			return at.dir.fault("chmod", name, err)
		}
	}
	return date(up, at, a.GetTimestamp())
}

// date sets the time of what was made at a place.
func date(up int, at place, ts int64) error {
	times := timesOf(ts)
	if times == nil {
		return nil
	}
	if err := setTimes(up, at.rest[0], times); err != nil {
		return at.dir.fault("utimes", at.rest[0], err)
	}
	return nil
}

// symlink makes a link. Where it points to is for its readers to judge.
func symlink(t *tree, a *pb.FileActionSymlink, who *owner) error {
	at, name, err := leaf(t, symlinkOp, a.GetNewpath())
	if err != nil {
		return err
	}
	defer at.close()
	if _, err := at.dir.lstat(name); err == nil {
		return fmt.Errorf("symlink %s %s: %w", a.GetOldpath(), at.path(), unix.EEXIST)
	}
	up, err := at.dir.writable()
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(a.GetOldpath(), up, name); err != nil {
		return fmt.Errorf("symlink %s %s: %w", a.GetOldpath(), at.path(), err)
	}
	if who != nil {
		if err := unix.Fchownat(up, name, who.uid, who.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return at.dir.fault("chown", name, err)
		}
	}
	return date(up, at, a.GetTimestamp())
}

// remove removes what the path, or each match of the pattern, names. A link at
// the end is removed itself.
func remove(t *tree, a *pb.FileActionRm) error {
	paths := []string{a.GetPath()}
	if a.GetAllowWildcard() {
		var err error
		paths, err = t.glob(cleanPath(a.GetPath()), false)
		if err != nil && (!a.GetAllowNotFound() || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	for _, p := range paths {
		if err := removePath(t, p, a.GetAllowNotFound()); err != nil {
			return err
		}
	}
	return nil
}

// removePath removes one path and all below it.
func removePath(t *tree, p string, allowNotFound bool) error {
	// Attack: "..", to remove what is outside. The path is cleaned below "/".
	p = path.Join("/", p)
	dir, base := path.Split(p)
	if base == "" {
		return fmt.Errorf("rmPath: invalid empty path: %w", errdefs.ErrInvalidArgument)
	}
	at, err := t.resolve(dir, true)
	if err != nil {
		return err
	}
	defer at.close()
	// The directory may be a link's target, the name itself is never followed.
	if len(at.rest) == 0 {
		_, err = at.dir.lstat(base)
	} else {
		err = unix.ENOENT
	}
	if errors.Is(err, unix.ENOENT) {
		if allowNotFound {
			return nil
		}
		return &fs.PathError{Op: "stat", Path: path.Join(at.path(), base), Err: err}
	}
	if err != nil {
		return at.dir.fault("stat", base, err)
	}
	return at.dir.remove(base)
}
