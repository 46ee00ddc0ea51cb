package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errNotSimple ends a layered attempt: the layer would need a mark of overlay's
// or the change of a file that other layers may share.
var errNotSimple = errors.New("change does not fit into a layer directory")

// dirFlags open directories. That links are not followed keeps a planted link
// "dir -> /etc" from being entered, whatever sits in the tree.
const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// nothing is the handle of a directory that is not there.
const nothing = -1

// tree is an open file system.
type tree struct {
	root *dir
	// layered trees have a layer's own directory on top and what is below it
	// beneath, read-only.
	layered bool
	used    usedInodes
}

// openTree opens the file system at upper. If layered, upper is an overlay's
// own directory, and lower, unless empty, shows what is below it. An empty
// upper is the empty file system, only to be read.
func openTree(upper, lower string, layered bool) (*tree, error) {
	t := &tree{layered: layered, used: newUsedInodes()}
	t.root = &dir{tree: t, path: "/", up: nothing, low: nothing}
	for _, side := range []struct {
		path string
		fd   *int
	}{{upper, &t.root.up}, {lower, &t.root.low}} {
		if side.path == "" {
			continue
		}
		// The path is the daemon's own: links in it are meant.
		fd, err := unix.Open(side.path, dirFlags&^unix.O_NOFOLLOW, 0)
		if err != nil {
			t.close()
			return nil, fmt.Errorf("open file system: %w", err)
		}
		*side.fd = fd
	}
	return t, nil
}

// close closes the root. Other directories belong to the places that opened
// them.
func (t *tree) close() { t.root.close() }

// dir is an open directory of a tree. Directories on the way to it stay open as
// long as it is; closeUpTo closes them together.
type dir struct {
	tree   *tree
	parent *dir // nil for the root
	name   string
	// path from the root of the tree, without links.
	path string
	// up is the handle that is written to, nothing until the directory is
	// copied up. low is the handle of what is below it in a layered tree.
	up, low int
	// made directories did not exist before this step.
	made bool
}

// close closes the handles of d alone. It is safe to call more than once.
func (d *dir) close() {
	for _, fd := range []*int{&d.up, &d.low} {
		if *fd != nothing {
			unix.Close(*fd)
			*fd = nothing
		}
	}
}

// closeUpTo closes d and those above it, without stop and those above that.
func closeUpTo(d, stop *dir) {
	for ; d != nil && d != stop; d = d.parent {
		d.close()
	}
}

// below returns the path of a name in d.
func (d *dir) below(name string) string {
	return strings.TrimSuffix(d.path, "/") + "/" + name
}

// fault is a failed operation on a name in d, in the words of package os.
func (d *dir) fault(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: d.below(name), Err: err}
}

// checkName refuses what is not exactly one component. Names come from split
// paths and from the kernel, so this never fails; it is what the argument that
// no operation leaves a directory rests on.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return unix.EINVAL
	}
	return nil
}

// stat describes the directory itself.
func (d *dir) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	fd := d.up
	if fd == nothing {
		fd = d.low
	}
	if fd == nothing { // the root of the empty file system
		st.Mode = unix.S_IFDIR | 0o755
		return st, nil
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: d.path, Err: err}
	}
	return st, nil
}

// lstat describes name in d; the error is a bare errno, ENOENT for nothing.
func (d *dir) lstat(name string) (unix.Stat_t, error) {
	st, _, err := d.find(name)
	return st, err
}

// find is lstat; fd is the handle of the directory that holds the name.
func (d *dir) find(name string) (st unix.Stat_t, fd int, err error) {
	if err := checkName(name); err != nil {
		return st, nothing, err
	}
	// What is in the layer hides what is below, whatever its kind.
	for _, fd := range []int{d.up, d.low} {
		if fd == nothing {
			continue
		}
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, unix.ENOENT) {
			return st, fd, err
		}
	}
	return st, nothing, unix.ENOENT
}

// readlink reads the link name in d.
func (d *dir) readlink(name string) (string, error) {
	_, fd, err := d.find(name)
	if err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// names lists d in byte order. What a layered tree shows from below is not
// merged: errNotSimple.
func (d *dir) names() ([]string, error) {
	if d.low != nothing {
		return nil, errNotSimple
	}
	if d.up == nothing {
		return nil, nil
	}
	// A descriptor of its own: the position of d.up belongs to nobody.
	fd, err := unix.Openat(d.up, ".", dirFlags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.path, Err: err}
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	list, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.Sort(list)
	return list, nil
}

// child opens the directory name in d. A link or a file is ENOTDIR.
func (d *dir) child(name string) (*dir, error) {
	if err := checkName(name); err != nil {
		return nil, d.fault("open", name, err)
	}
	c := &dir{tree: d.tree, parent: d, name: name, path: d.below(name), up: nothing, low: nothing}
	for _, side := range []struct {
		from int
		to   *int
	}{{d.up, &c.up}, {d.low, &c.low}} {
		if side.from == nothing {
			continue
		}
		fd, err := unix.Openat(side.from, name, dirFlags, 0)
		switch {
		case err == nil:
			*side.to = fd
		case errors.Is(err, unix.ENOENT):
		case side.from == d.low && c.up != nothing && (errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)):
			// Hidden by the directory above it.
		default:
			c.close()
			return nil, d.fault("open", name, err)
		}
	}
	if c.up == nothing && c.low == nothing {
		return nil, d.fault("open", name, unix.ENOENT)
	}
	return c, nil
}

// writable returns the handle to write through, copying d up if need be.
func (d *dir) writable() (int, error) {
	if d.up != nothing {
		return d.up, nil
	}
	if d.parent == nil {
		return nothing, fmt.Errorf("write to an empty file system: %w", unix.EROFS)
	}
	above, err := d.parent.writable()
	if err != nil {
		return nothing, err
	}
	before, err := inodeTimes(above)
	if err != nil {
		return nothing, d.parent.wrap("stat", err)
	}
	made := unix.Mkdirat(above, d.name, 0o700)
	if made != nil && !errors.Is(made, unix.EEXIST) { // another handle's doing
		return nothing, &fs.PathError{Op: "copy up", Path: d.path, Err: made}
	}
	fd, err := unix.Openat(above, d.name, dirFlags, 0)
	if err == nil && made == nil {
		// Nothing is new in the directory above as far as anybody can see.
		err = errors.Join(copyUpInfo(d.low, fd), setTimes(above, "", before))
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nothing, &fs.PathError{Op: "copy up", Path: d.path, Err: err}
	}
	d.up = fd
	return fd, nil
}

// inodeTimes returns access and modification time.
func inodeTimes(fd int) ([]unix.Timespec, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return []unix.Timespec{st.Atim, st.Mtim}, err
}

// copyUpInfo gives a new directory the attributes of the lower one. Its time
// changes as soon as something is made in it, as overlay's would.
func copyUpInfo(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	// The owner first: a new owner clears set-id bits.
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(fdPath(from), fdPath(to)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&permBits); err != nil {
		return err
	}
	return setTimes(to, "", []unix.Timespec{st.Atim, st.Mtim})
}

// mkdir makes the directory name in d, which must not exist.
func (d *dir) mkdir(name string, perm uint32) (*dir, error) {
	if err := checkName(name); err != nil {
		return nil, d.fault("mkdir", name, err)
	}
	up, err := d.writable()
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(up, name, perm&0o777); err != nil {
		return nil, d.fault("mkdir", name, err)
	}
	fd, err := unix.Openat(up, name, dirFlags, 0)
	if err != nil {
		return nil, d.fault("open", name, err)
	}
	c := &dir{tree: d.tree, parent: d, name: name, path: d.below(name), up: fd, low: nothing, made: true}
	if err := unix.Fchmod(fd, perm&permBits); err != nil { // past the umask
		c.close()
		return nil, d.fault("chmod", name, err)
	}
	return c, nil
}

// makeRoom removes the file name in d, which is about to be made anew: a lower
// one is hidden by that. A directory is an error.
func (d *dir) makeRoom(name string) error {
	st, fd, err := d.find(name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return d.fault("lstat", name, err)
	case isDir(&st):
		return fmt.Errorf("cannot replace to directory %s with file", d.below(name))
	case fd == d.low:
		return nil // hidden as soon as the layer has the name
	}
	if err := unix.Unlinkat(fd, name, 0); err != nil {
		return d.fault("remove", name, err)
	}
	return nil
}

// remove removes name in d with all below it. A lower one would need a
// whiteout.
func (d *dir) remove(name string) error {
	if err := checkName(name); err != nil {
		return d.fault("remove", name, err)
	}
	var st unix.Stat_t
	if d.low != nothing && unix.Fstatat(d.low, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return errNotSimple
	}
	if d.up == nothing {
		return nil // not copied up, so there is nothing in it
	}
	// Most things are files; a directory says so.
	err := unix.Unlinkat(d.up, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return d.fault("remove", name, err)
	}
	c, err := d.child(name)
	if err != nil {
		return err
	}
	defer c.close()
	list, err := c.names()
	if err != nil {
		return err
	}
	for _, n := range list {
		if err := c.remove(n); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(d.up, name, unix.AT_REMOVEDIR); err != nil {
		return d.fault("remove", name, err)
	}
	return nil
}

// Kinds of files.
func isDir(st *unix.Stat_t) bool     { return st.Mode&unix.S_IFMT == unix.S_IFDIR }
func isRegular(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }
func isSymlink(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFLNK }
