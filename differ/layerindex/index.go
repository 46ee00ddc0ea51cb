package layerindex

import (
	"slices"
	"strings"
)

// Index is the immutable record of one layer.
type Index struct {
	entries []Entry
}

// Len is the number of entries.
func (x *Index) Len() int { return len(x.entries) }

// Entries returns all entries in order. The slice must not be changed.
func (x *Index) Entries() []Entry { return x.entries }

// Lookup finds the entry of a clean relative path. A nil answer means that the
// layer says nothing about the path itself; Hides tells whether it hides it.
func (x *Index) Lookup(path string) *Entry {
	i, ok := x.search(path)
	if !ok {
		return nil
	}
	return &x.entries[i]
}

// Hides reports whether the layer keeps lower layers from showing path: path
// is whited out or replaced, or an ancestor is opaque, whited out or no
// directory.
func (x *Index) Hides(path string) bool {
	if e := x.Lookup(path); e != nil && (e.Kind != Directory || e.Opaque) {
		return true
	}
	for path != "" {
		path = parentOf(path)
		if e := x.Lookup(path); e != nil && (e.Kind != Directory || e.Opaque) {
			return true
		}
	}
	return false
}

// Below returns the entries strictly below directory path, in order. The slice
// shares memory with the index and must not be changed.
func (x *Index) Below(path string) []Entry {
	i, ok := x.search(path)
	if ok {
		i++
	}
	rest := x.entries[i:]
	if path == "" {
		return rest
	}
	prefix := path + "/"
	end, _ := slices.BinarySearchFunc(rest, prefix, func(e Entry, prefix string) int {
		if strings.HasPrefix(e.Path, prefix) {
			return -1
		}
		return ComparePaths(e.Path, prefix)
	})
	return rest[:end]
}

// search is a binary search by path.
func (x *Index) search(path string) (int, bool) {
	return slices.BinarySearchFunc(x.entries, path, func(e Entry, p string) int { return ComparePaths(e.Path, p) })
}

// parentOf returns the path of the parent directory, empty for the root.
func parentOf(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}
