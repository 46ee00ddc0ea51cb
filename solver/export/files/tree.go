package files

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

func isDir(st *fsutil.Stat) bool { return fs.FileMode(st.GetMode()).IsDir() }

// isWhiteout tells overlay's mark of a removed file from a device: no real one
// has the number 0, 0.
func isWhiteout(st *fsutil.Stat) bool {
	return fs.FileMode(st.GetMode())&fs.ModeCharDevice != 0 && st.GetDevmajor() == 0 && st.GetDevminor() == 0
}

// isHardLink tells a further name of an earlier file.
func isHardLink(st *fsutil.Stat) bool {
	return fs.FileMode(st.GetMode()).IsRegular() && st.GetLinkname() != ""
}

// directory describes a directory that is in no result.
func directory(name string, epoch *time.Time) *fsutil.Stat {
	st := &fsutil.Stat{Path: name, Mode: uint32(fs.ModeDir | 0o755)}
	if epoch != nil {
		st.ModTime = epoch.UnixNano()
	}
	return st
}

// empty is a Tree without files.
type empty struct{}

// Walk calls nobody.
func (empty) Walk(context.Context, func(*fsutil.Stat) error) error { return nil }

// Open finds nothing.
func (empty) Open(name string) (io.ReadCloser, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// below is a Tree moved into a directory.
type below struct {
	files.Tree
	dir *fsutil.Stat
}

// Walk visits the directory, then the tree.
func (b below) Walk(ctx context.Context, fn func(*fsutil.Stat) error) error {
	if err := fn(b.dir); err != nil {
		return err
	}
	prefix := b.dir.GetPath() + "/"
	return b.Tree.Walk(ctx, func(st *fsutil.Stat) error {
		st.Path = prefix + st.GetPath()
		if isHardLink(st) {
			st.Linkname = prefix + st.GetLinkname()
		}
		return fn(st)
	})
}

// Open opens a file of the tree.
func (b below) Open(name string) (io.ReadCloser, error) {
	rest, ok := strings.CutPrefix(name, b.dir.GetPath()+"/")
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return b.Tree.Open(rest)
}

// merged is several Trees as one. They may share directories, of which the
// first tree's attributes count, and nothing else. The entries of all but a
// single tree are kept in memory for a walk: their order is common to all.
type merged struct {
	trees []platformTree
	// owner tells which tree has a file; Walk fills it before Open is called.
	owner map[string]files.Tree
}

// newMerged returns the trees as one Tree.
func newMerged(trees []platformTree) files.Tree {
	if len(trees) == 1 {
		return trees[0].Tree
	}
	return &merged{trees: trees}
}

// Walk visits the entries of all trees in path order.
func (m *merged) Walk(ctx context.Context, fn func(*fsutil.Stat) error) error {
	var all []*fsutil.Stat
	owner := map[string]files.Tree{}
	for _, t := range m.trees {
		err := t.Walk(ctx, func(st *fsutil.Stat) error {
			if _, ok := owner[st.GetPath()]; ok {
				if isDir(st) {
					return nil
				}
				return fmt.Errorf("%s is in the results of several platforms", st.GetPath())
			}
			owner[st.GetPath()] = t.Tree
			all = append(all, st)
			return nil
		})
		if err != nil {
			return err
		}
	}
	m.owner = owner
	slices.SortFunc(all, func(a, b *fsutil.Stat) int { return files.ComparePath(a.GetPath(), b.GetPath()) })
	for _, st := range all {
		if err := fn(st); err != nil {
			return err
		}
	}
	return nil
}

// Open opens a file of one of the trees.
func (m *merged) Open(name string) (io.ReadCloser, error) {
	t, ok := m.owner[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return t.Open(name)
}
