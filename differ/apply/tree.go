package apply

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's own bound on symbolic links in one path.
const maxLinks = 40

// node is an opened directory of the target.
type node struct {
	fd int
	// path is the real path from the root, free of links.
	path string
}

// tree finds and makes directories of the target.
//
// It keeps the chain of directories that led to the last one open: archives are
// mostly in depth-first order, so that an entry usually costs no look-up.
type tree struct {
	root    node
	layered bool
	lower   []string
	attrs   overlay.Attrs
	index   *layerindex.Builder
	// replace allows to put a directory in place of a file that is in the way.
	replace bool
	// owner is who gets directories the archive does not mention; nil is root.
	owner *Owner

	chain []step
	stale bool
}

// step is one component of the chain, by its name in the archive.
type step struct {
	name string
	node node
}

// close closes all handles but the root's, which the caller opened.
func (t *tree) close() { t.truncate(0) }

// truncate closes the chain from position n on.
func (t *tree) truncate(n int) {
	for _, s := range t.chain[n:] {
		unix.Close(s.node.fd)
	}
	t.chain = t.chain[:n]
}

// forget makes the next look-up start at the root. It is called when a
// directory or link was removed, because the chain may lead through it. Handles
// in use stay open until then.
func (t *tree) forget() { t.stale = true }

// dir opens the directory of a clean path, making what is missing. The handle
// belongs to the tree and is good until the next call.
func (t *tree) dir(path string) (node, error) {
	if t.stale {
		t.truncate(0)
		t.stale = false
	}
	if path == "" {
		return t.root, nil
	}
	n := 0
	rest := path
	for n < len(t.chain) && rest != "" {
		name, tail, _ := strings.Cut(rest, "/")
		if t.chain[n].name != name {
			break
		}
		rest = tail
		n++
	}
	t.truncate(n)
	cur := t.root
	if n > 0 {
		cur = t.chain[n-1].node
	}
	for rest != "" {
		name, tail, _ := strings.Cut(rest, "/")
		rest = tail
		next, link, err := t.enter(cur, name, true)
		if err == nil && link != "" {
			links := 1
			next, err = t.resolve(cur.path, link, &links, true)
		}
		if err != nil {
			return node{}, err
		}
		t.chain = append(t.chain, step{name, next})
		cur = next
	}
	return cur, nil
}

// open opens the directory of a clean path with a handle that the caller
// closes. Without create, what is missing is an error for which inode.Missing
// holds.
func (t *tree) open(path string, create bool) (node, error) {
	links := 0
	return t.resolve("", path, &links, create)
}

// resolve walks target starting at the real path base, following links itself.
//
// Attack: a planted link "a -> /etc" followed by an entry "a/passwd". Absolute
// targets start at the root of the tree, ".." stops there, and the kernel never
// sees more than one component.
func (t *tree) resolve(base, target string, links *int, create bool) (node, error) {
	real, todo := splitParts(base), splitParts(target)
	if strings.HasPrefix(target, "/") {
		real = nil
	}
	cur, err := t.reopen(strings.Join(real, "/"))
	for err == nil && len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			parent, _ := splitName(cur.path)
			unix.Close(cur.fd)
			cur, err = t.reopen(parent)
			continue
		}
		next, link, enterErr := t.enter(cur, part, create)
		if enterErr == nil && link == "" {
			unix.Close(cur.fd)
			cur = next
			continue
		}
		at := cur.path
		unix.Close(cur.fd)
		if enterErr != nil {
			return node{}, enterErr
		}
		// Attack: links in a circle.
		if *links++; *links > maxLinks {
			return node{}, fmt.Errorf("too many links at %s: %w", joinPath(at, part), ErrRefused)
		}
		todo = append(splitParts(link), todo...)
		if strings.HasPrefix(link, "/") {
			at = ""
		}
		cur, err = t.reopen(at)
	}
	return cur, err
}

// reopen opens a directory by its real path.
func (t *tree) reopen(path string) (node, error) {
	fd, err := inode.OpenPath(t.root.fd, path)
	if err != nil {
		return node{}, fmt.Errorf("open directory %s: %w", path, err)
	}
	return node{fd: fd, path: path}, nil
}

// enter opens directory name in cur. If it is a symbolic link, here or in the
// lower layers, its target is returned instead. With create, a missing
// directory is made.
func (t *tree) enter(cur node, name string, create bool) (next node, link string, err error) {
	path := joinPath(cur.path, name)
	fd, err := inode.OpenDir(cur.fd, name)
	if err == nil {
		return node{fd, path}, "", nil
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return node{}, "", fmt.Errorf("open directory %s: %w", path, err)
	}
	if !errors.Is(err, unix.ENOENT) {
		link, err = inode.Readlink(cur.fd, name)
		if err == nil {
			return node{}, link, checkLink(path, link)
		}
		if !errors.Is(err, unix.EINVAL) {
			return node{}, "", fmt.Errorf("read link %s: %w", path, err)
		}
		return t.displace(cur, name, create)
	}
	if t.layered {
		return t.copyUpDir(cur, name, create)
	}
	if !create {
		return node{}, "", fmt.Errorf("open directory %s: %w", path, err)
	}
	next, err = t.makeDir(cur, name)
	return next, "", err
}

// checkLink refuses an empty target, which would read as "no link" (no file
// system makes one, but FUSE can).
func checkLink(path, target string) error {
	if target == "" {
		return fmt.Errorf("link %s has no target: %w", path, ErrRefused)
	}
	return nil
}

// displace puts a directory in place of a file that is in the way of an entry,
// as happens when a layer leaves out the directory entries.
func (t *tree) displace(cur node, name string, create bool) (node, string, error) {
	path := joinPath(cur.path, name)
	if !create || !t.replace {
		return node{}, "", fmt.Errorf("%s is in the way and no directory: %w", path, unix.ENOTDIR)
	}
	if err := inode.RemoveAll(cur.fd, name); err != nil {
		return node{}, "", err
	}
	next, err := t.makeDir(cur, name)
	if err == nil && t.layered {
		err = t.attrs.SetOpaque(next.fd)
		if e := t.index.Get(path); e != nil {
			e.Opaque = true
		}
	}
	return next, "", err
}

// makeDir makes a parent directory that the archive did not mention.
func (t *tree) makeDir(cur node, name string) (node, error) {
	path := joinPath(cur.path, name)
	if err := unix.Mkdirat(cur.fd, name, 0o755); err != nil {
		return node{}, fmt.Errorf("make directory %s: %w", path, err)
	}
	fd, err := inode.OpenDir(cur.fd, name)
	if err != nil {
		return node{}, fmt.Errorf("open directory %s: %w", path, err)
	}
	// Past the umask, and past what a setgid parent hands down.
	var owner Owner
	if t.owner != nil {
		owner = *t.owner
	}
	err = unix.Fchown(fd, int(owner.UID), int(owner.GID))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		err = nil // unprivileged extraction
	}
	if err == nil {
		err = unix.Fchmod(fd, 0o755)
	}
	var st inode.Stat
	if err == nil {
		st, err = inode.Fstat(fd)
	}
	if err != nil {
		unix.Close(fd)
		return node{}, fmt.Errorf("set up directory %s: %w", path, err)
	}
	e := inode.Describe(path, &st)
	e.ModTime = 0 // nobody said when; the same everywhere is better than now
	e.Seal()
	t.index.Put(e)
	return node{fd, path}, nil
}

// splitParts splits a path and drops empty and "." components.
func splitParts(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	return out
}
