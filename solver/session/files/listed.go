package files

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// ListedEntry is one entry of a Listed.
type ListedEntry struct {
	// Stat describes it; the link name of hard links is left to the walk.
	Stat *fsutil.Stat
	// Inode, if not 0, is equal for names of one file.
	Inode int
}

// Listed is a Tree whose entries are known beforehand, reduced by Patterns. It
// may be walked from several goroutines.
type Listed struct {
	entries []ListedEntry
	open    func(name string) (io.ReadCloser, error)
	filter  *filter
}

// NewListed returns a Tree of entries, which are in path order with every
// parent before what is in it; they must not change any more. open opens a
// regular file of them.
func NewListed(entries []ListedEntry, open func(name string) (io.ReadCloser, error), patterns Patterns) (*Listed, error) {
	l := &Listed{entries: entries, open: open}
	var err error
	l.filter, err = newFilter(l, patterns)
	return l, err
}

// Open opens a regular file.
func (l *Listed) Open(name string) (io.ReadCloser, error) { return l.open(name) }

// level is a directory on the way to the current entry.
type level struct {
	name  string
	match match
	// held is its entry while nothing below it has matched.
	held *fsutil.Stat
}

// Walk calls fn for each entry that the filter leaves.
func (l *Listed) Walk(ctx context.Context, fn func(st *fsutil.Stat) error) error {
	way := []level{{match: l.filter.start()}}
	first := map[int]string{}
	for i := 0; i < len(l.entries); i++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := &l.entries[i]
		name, isDir := e.Stat.GetPath(), fs.FileMode(e.Stat.GetMode()).IsDir()
		for parent := dirOf(name); way[len(way)-1].name != parent; way = way[:len(way)-1] {
			if len(way) == 1 {
				return fmt.Errorf("list of files: %q has no parent", name)
			}
		}
		m, err := l.filter.match(name, way[len(way)-1].match)
		if err != nil {
			return err
		}
		if isDir && !m.send && !m.descend {
			i = l.after(i) - 1
			continue
		}
		at := level{name: name, match: m, held: e.Stat}
		if m.send {
			if err := sendHeld(way, fn); err != nil {
				return err
			}
			if err := fn(linked(e, first)); err != nil {
				return err
			}
			at.held = nil
		}
		if isDir {
			way = append(way, at)
		}
	}
	return nil
}

// sendHeld sends the directories that were held back.
func sendHeld(way []level, fn func(st *fsutil.Stat) error) error {
	for i := range way {
		if held := way[i].held; held != nil {
			way[i].held = nil
			if err := fn(held); err != nil {
				return err
			}
		}
	}
	return nil
}

// linked returns the entry as it is sent: all names of a file but the first
// are links to that.
func linked(e *ListedEntry, first map[int]string) *fsutil.Stat {
	if e.Inode == 0 {
		return e.Stat
	}
	to, again := first[e.Inode]
	if !again {
		first[e.Inode] = e.Stat.GetPath()
		return e.Stat
	}
	s := e.Stat
	return &fsutil.Stat{Path: s.GetPath(), Mode: s.GetMode(), ModTime: s.GetModTime(), Xattrs: s.GetXattrs(), Linkname: to}
}

func dirOf(name string) string {
	if dir := path.Dir(name); dir != "." {
		return dir
	}
	return ""
}

// after returns the place behind all that is below the directory at i.
func (l *Listed) after(i int) int {
	prefix := l.entries[i].Stat.GetPath() + "/"
	return i + 1 + sort.Search(len(l.entries)-i-1, func(n int) bool {
		return !strings.HasPrefix(l.entries[i+1+n].Stat.GetPath(), prefix)
	})
}

// find returns the place of an entry.
func (l *Listed) find(name string) (int, bool) {
	return sort.Find(len(l.entries), func(i int) int { return ComparePath(name, l.entries[i].Stat.GetPath()) })
}

func (l *Listed) readlink(name string) (string, bool, error) {
	i, ok := l.find(name)
	if !ok || fs.FileMode(l.entries[i].Stat.GetMode())&fs.ModeSymlink == 0 {
		return "", false, nil
	}
	return l.entries[i].Stat.GetLinkname(), true, nil
}

func (l *Listed) names(dir string) ([]string, error) {
	i, end := 0, len(l.entries)
	if dir != "." {
		at, ok := l.find(dir)
		if !ok {
			return nil, nil
		}
		i, end = at+1, l.after(at)
	}
	var out []string
	for ; i < end; i = l.after(i) {
		out = append(out, path.Base(l.entries[i].Stat.GetPath()))
	}
	return out, nil
}
