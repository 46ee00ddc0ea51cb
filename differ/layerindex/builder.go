package layerindex

import (
	"fmt"
	"slices"
	"strings"
)

// Builder collects the entries of a layer while its bytes pass. Later entries
// replace earlier ones of the same path, as in a tar. It is not safe for
// concurrent use.
type Builder struct {
	entries map[string]*Entry
	// children lists the names below a directory, so that replacing a directory
	// need not look at the whole layer.
	children map[string]map[string]struct{}
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{entries: map[string]*Entry{}, children: map[string]map[string]struct{}{}}
}

// Put records e, replacing what was known of its path. If e is no directory,
// what was known below the path is forgotten. The Builder keeps e.
func (b *Builder) Put(e *Entry) {
	if e.Kind != Directory {
		b.Remove(e.Path)
	}
	b.entries[e.Path] = e
	if e.Path == "" {
		return
	}
	dir := parentOf(e.Path)
	set := b.children[dir]
	if set == nil {
		set = map[string]struct{}{}
		b.children[dir] = set
	}
	set[e.Path] = struct{}{}
}

// Get returns the entry of path, or nil. Changing its metadata in place is
// allowed until Index is called.
func (b *Builder) Get(path string) *Entry { return b.entries[path] }

// Remove forgets path and everything below it. When path was the first name of
// a hard-linked file, the smallest remaining name takes over at Index.
func (b *Builder) Remove(path string) {
	for child := range b.children[path] {
		b.Remove(child)
	}
	delete(b.children, path)
	delete(b.entries, path)
	if path != "" {
		delete(b.children[parentOf(path)], path)
	}
}

// Children returns the paths recorded directly below a directory, in no order.
func (b *Builder) Children(path string) []string {
	out := make([]string, 0, len(b.children[path]))
	for p := range b.children[path] {
		out = append(out, p)
	}
	return out
}

// Len is the number of entries recorded.
func (b *Builder) Len() int { return len(b.entries) }

// Index returns the finished index, or an error that names an entry which the
// format cannot hold. The Builder must not be used afterwards.
//
// LinkName of regular files is normalised: whatever name a tar called first,
// the first in path order is the one the others point to.
func (b *Builder) Index() (*Index, error) {
	x := &Index{entries: make([]Entry, 0, len(b.entries))}
	for _, e := range b.entries {
		x.entries = append(x.entries, *e)
	}
	slices.SortFunc(x.entries, func(a, b Entry) int { return ComparePaths(a.Path, b.Path) })
	normaliseLinks(x.entries)
	for i := range x.entries {
		if err := x.entries[i].Validate(); err != nil {
			return nil, fmt.Errorf("index layer: %w", err)
		}
	}
	return x, nil
}

// normaliseLinks makes the first name in order the one without LinkName. A
// group is known by the name its members point to, present or not.
func normaliseLinks(entries []Entry) {
	first := map[string]string{} // group name -> first path
	grouped := map[string]bool{}
	for i := range entries {
		if e := &entries[i]; e.Kind == Regular && e.LinkName != "" {
			grouped[e.LinkName] = true
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.Kind != Regular {
			continue
		}
		group := e.LinkName
		if group == "" {
			if !grouped[e.Path] {
				continue
			}
			group = e.Path
		}
		if head, ok := first[group]; ok {
			e.LinkName = head
			continue
		}
		first[group] = strings.Clone(e.Path)
		e.LinkName = ""
	}
}
