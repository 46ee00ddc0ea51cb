package snapshotter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// maxParameter is one more than the longest string fsconfig(2) takes.
const maxParameter = 256

// attachFlags are the fstab-style options of mount attributes in the new mount
// API; the others of an overlay mount are parameters of the file system.
var attachFlags = map[string]uint64{
	"ro":         unix.MOUNT_ATTR_RDONLY,
	"nosuid":     unix.MOUNT_ATTR_NOSUID,
	"nodev":      unix.MOUNT_ATTR_NODEV,
	"noexec":     unix.MOUNT_ATTR_NOEXEC,
	"noatime":    unix.MOUNT_ATTR_NOATIME,
	"nodiratime": unix.MOUNT_ATTR_NODIRATIME,
	"rw":         0,
	"relatime":   0,
}

// errNotHere reports that the new mount API can not do this mount on this
// kernel, and that nothing has happened yet.
var errNotHere = errors.New("not possible with the new mount API")

// Mount does what containerd's mount.All does: it mounts the mounts one after
// the other on target, which exists. In addition it mounts overlays of up to
// MaxLayers layers, whose options do not fit into the one page that mount(2)
// takes. It uses fsopen(2) and friends for those (Linux 6.5) and leaves the
// rest, and what the kernel can not do, to containerd.
func Mount(mounts []mount.Mount, target string) error {
	for i := range mounts {
		m := &mounts[i]
		if !needsAttach(m) {
			if err := m.Mount(target); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
			continue
		}
		err := attachBelow(m, target)
		if errors.Is(err, errNotHere) {
			err = m.Mount(target)
		}
		if err != nil {
			return fmt.Errorf("mount %d layers on %s: %w", countLower(m), target, err)
		}
	}
	return nil
}

// needsAttach reports whether m is an overlay with more options than are safe
// to pass in one page. Idmapped lower directories are containerd's to arrange.
func needsAttach(m *mount.Mount) bool {
	if m.Type != "overlay" {
		return false
	}
	size := 0
	for _, o := range m.Options {
		if strings.HasPrefix(o, "uidmap=") || strings.HasPrefix(o, "gidmap=") {
			return false
		}
		size += len(o) + 1
	}
	return size >= os.Getpagesize()-512
}

func countLower(m *mount.Mount) int {
	for _, o := range m.Options {
		if v, ok := strings.CutPrefix(o, "lowerdir="); ok {
			return strings.Count(v, ":") + 1
		}
	}
	return 0
}

// attachBelow resolves the mount's own target below target, as containerd does.
func attachBelow(m *mount.Mount, target string) error {
	target, err := fs.RootPath(target, m.Target)
	if err != nil {
		return fmt.Errorf("resolve mount target: %w", err)
	}
	return attach(m, target)
}

// attach mounts one overlay with the new mount API.
func attach(m *mount.Mount, target string) error {
	if slices.ContainsFunc(m.Options, func(o string) bool { return strings.Contains(o, `\`) }) {
		return errNotHere // escaped paths: not ours
	}
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%w: fsopen: %w", errNotHere, err)
	}
	p := parameters{fd: fsfd}
	defer p.close()
	flags, err := p.setAll(m)
	if err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return p.explain("create overlay", err)
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, int(flags))
	if err != nil {
		return p.explain("fsmount", err)
	}
	defer unix.Close(mfd)
	if err := unix.MoveMount(mfd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "move_mount", Path: target, Err: err}
	}
	return nil
}

// parameters configures a file system context.
type parameters struct {
	fd     int
	pinned []int // directories named through /proc/self/fd
}

func (p *parameters) close() {
	for _, fd := range append(p.pinned, p.fd) {
		unix.Close(fd)
	}
}

// setAll passes on the options of m and returns the attributes of the mount.
func (p *parameters) setAll(m *mount.Mount) (flags uint64, err error) {
	if err := p.set("source", m.Source); err != nil {
		return 0, err
	}
	for _, o := range m.Options {
		name, value, hasValue := strings.Cut(o, "=")
		flag, isFlag := attachFlags[o]
		switch {
		case isFlag:
			flags |= flag
		case name == "lowerdir":
			err = p.lower(strings.Split(value, ":"))
		case name == "upperdir" || name == "workdir":
			err = p.setDir(name, value)
		case hasValue:
			err = p.set(name, value)
		default:
			err = unix.FsconfigSetFlag(p.fd, o)
		}
		if err != nil {
			return 0, p.explain("set option "+name, err)
		}
	}
	if flags&unix.MOUNT_ATTR_RDONLY != 0 {
		// A read-only mount of a read-only file system, as mount(2) makes.
		if err := unix.FsconfigSetFlag(p.fd, "ro"); err != nil {
			return 0, p.explain("set option ro", err)
		}
	}
	return flags, nil
}

// lower adds the lower directories one by one, the uppermost first.
func (p *parameters) lower(dirs []string) error {
	for i, dir := range dirs {
		err := p.setDir("lowerdir+", dir)
		if i == 0 && errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("%w: kernel without lowerdir+", errNotHere)
		}
		if err != nil {
			return fmt.Errorf("layer %d, %s: %w", i, dir, err)
		}
	}
	return nil
}

// setDir passes a directory. One whose name is too long for fsconfig(2) is
// opened and named by its descriptor.
func (p *parameters) setDir(name, dir string) error {
	if len(dir) >= maxParameter {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		p.pinned = append(p.pinned, fd)
		dir = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	return p.set(name, dir)
}

func (p *parameters) set(name, value string) error {
	if len(value) >= maxParameter {
		return fmt.Errorf("%w: value of %s is too long", errNotHere, name)
	}
	return unix.FsconfigSetString(p.fd, name, value)
}

// explain adds what the kernel wrote into the context's log, one message per
// read, to a bare error number.
func (p *parameters) explain(what string, err error) error {
	if errors.Is(err, errNotHere) {
		return err
	}
	var messages []string
	buf := make([]byte, 1024)
	for range 8 {
		n, rerr := unix.Read(p.fd, buf)
		if rerr != nil || n <= 0 {
			break
		}
		messages = append(messages, strings.TrimSpace(string(buf[:n])))
	}
	if len(messages) == 0 {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w (%s)", what, err, strings.Join(messages, "; "))
}
