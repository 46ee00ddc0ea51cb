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
	// children lists the paths below a directory, so that replacing a directory
	// need not look at the whole layer.
	children map[string]map[string]struct{}
	// links has, for each path of a file with several names, the set of all its
	// paths. The set is shared by its members.
	links map[string]map[string]struct{}
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{
		entries:  map[string]*Entry{},
		children: map[string]map[string]struct{}{},
		links:    map[string]map[string]struct{}{},
	}
}

// Put records e as a new file, replacing what was known of its path. If e is no
// directory, what was known below the path is forgotten; if it is a directory
// in place of anything else, it becomes opaque, because what was there hid the
// lower layers. The Builder keeps e and sets LinkName of regular files itself,
// see Link.
func (b *Builder) Put(e *Entry) {
	old := b.entries[e.Path]
	if e.Kind != Directory {
		b.Remove(e.Path)
	} else if old != nil && (old.Kind != Directory || old.Opaque) {
		e.Opaque = true
	}
	b.unlink(e.Path)
	b.entries[e.Path] = e
	if e.Path == "" {
		return
	}
	b.adopt(e.Path)
}

// adopt makes path a child of its parent, and so on up to the root.
func (b *Builder) adopt(path string) {
	for path != "" {
		dir := parentOf(path)
		set := b.children[dir]
		if _, known := set[path]; known {
			return
		}
		if set == nil {
			set = map[string]struct{}{}
			b.children[dir] = set
		}
		set[path] = struct{}{}
		path = dir
	}
}

// Link records path as one more name of the file at target, which must have
// been put. It returns the new entry.
func (b *Builder) Link(path, target string) *Entry {
	e := *b.entries[target]
	e.Path = path
	set := b.links[target]
	b.Put(&e)
	if set == nil {
		set = map[string]struct{}{target: {}}
		b.links[target] = set
	}
	set[path] = struct{}{}
	b.links[path] = set
	return &e
}

// Names returns all recorded paths of the file at path, itself included.
func (b *Builder) Names(path string) []string {
	if len(b.links[path]) == 0 {
		return []string{path}
	}
	out := make([]string, 0, len(b.links[path]))
	for p := range b.links[path] {
		out = append(out, p)
	}
	return out
}

// Get returns the entry of path, or nil. Changing its metadata in place is
// allowed until Index is called.
func (b *Builder) Get(path string) *Entry { return b.entries[path] }

// Remove forgets path and everything below it.
func (b *Builder) Remove(path string) {
	for child := range b.children[path] {
		b.Remove(child)
	}
	b.unlink(path)
	delete(b.children, path)
	delete(b.entries, path)
	if path != "" {
		delete(b.children[parentOf(path)], path)
	}
}

// unlink takes path out of its set of names.
func (b *Builder) unlink(path string) {
	if set, ok := b.links[path]; ok {
		delete(set, path)
		delete(b.links, path)
	}
}

// Children returns the paths directly below a directory, in no order: those
// that have an entry and those with entries further below.
func (b *Builder) Children(path string) []string {
	out := make([]string, 0, len(b.children[path]))
	for p := range b.children[path] {
		out = append(out, p)
	}
	return out
}

// Directories returns the recorded directories in path order.
func (b *Builder) Directories() []*Entry {
	var out []*Entry
	for _, e := range b.entries {
		if e.Kind == Directory {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *Entry) int { return ComparePaths(a.Path, b.Path) })
	return out
}

// Len is the number of entries recorded.
func (b *Builder) Len() int { return len(b.entries) }

// Index returns the finished index, or an error that names an entry which the
// format cannot hold. The Builder must not be used afterwards.
//
// Of several names of a file, the first in path order is the one the others
// point to, whatever name came first.
func (b *Builder) Index() (*Index, error) {
	x := &Index{entries: make([]Entry, 0, len(b.entries))}
	for path, e := range b.entries {
		if e.Kind == Regular {
			e.LinkName = ""
			if first := slices.MinFunc(b.Names(path), ComparePaths); first != path {
				e.LinkName = strings.Clone(first)
			}
		}
		x.entries = append(x.entries, *e)
	}
	slices.SortFunc(x.entries, func(a, b Entry) int { return ComparePaths(a.Path, b.Path) })
	for i := range x.entries {
		if err := x.entries[i].Validate(); err != nil {
			return nil, fmt.Errorf("index layer: %w", err)
		}
	}
	return x, nil
}
