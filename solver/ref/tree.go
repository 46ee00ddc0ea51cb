package ref

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// tree is the file system that a chain of indexes describes, looked up without
// touching the files. It is for one goroutine; the indexes are shared.
type tree struct {
	root *node
}

// node is one file of a tree.
type node struct {
	// name is the last component.
	name string
	// entry is what the uppermost layer that describes the file says, nil for
	// a directory that layers only imply by what is below it.
	entry *layerindex.Entry
	// parts are the layers that have a say in what is in a directory,
	// uppermost first.
	parts []part
	// bare is set for a root whose own attributes count for nothing.
	bare bool
	kids []*node // of a directory, sorted by name; nil until listed
}

// part is what one layer knows below a directory.
type part struct {
	layer *layerIndex
	// path of the directory, and the entries below it.
	path  string
	below []layerindex.Entry
}

// newTree stacks indexes, base first.
func newTree(chain []*layerIndex) *tree {
	root := &node{}
	// Uppermost first: the first to describe the root decides how it looks.
	for _, l := range slices.Backward(chain) {
		e := l.idx.Lookup("")
		if root.entry == nil {
			root.entry = e
		}
		root.parts = append(root.parts, part{layer: l, below: l.idx.Below("")})
		if e != nil && e.Opaque {
			break
		}
	}
	return &tree{root: root}
}

func (n *node) isDir() bool {
	return n.entry == nil || n.entry.Kind == layerindex.Directory
}

func (n *node) isSymlink() bool {
	return n.entry != nil && n.entry.Kind == layerindex.Symlink
}

// header is the digest of the file without what is below it; of a file with
// its bytes. A directory that nothing describes is what extraction makes of it.
func (n *node) header() digest.Digest {
	if n.bare {
		return digest.FromBytes(nil)
	}
	if n.entry == nil {
		implied := layerindex.Entry{Kind: layerindex.Directory, Mode: 0o755}
		return implied.HeaderDigest().Digest()
	}
	return n.entry.Digest.Digest()
}

// children lists a directory, sorted by name; the order of its parts decides
// between layers, and whiteouts end what is below them.
func (n *node) children() []*node {
	if n.kids != nil || !n.isDir() {
		return n.kids
	}
	n.kids = []*node{}
	byName := map[string]*node{}
	ended := map[string]bool{} // names that lower layers have no say in
	for _, p := range n.parts {
		p.each(func(name string, e *layerindex.Entry, below part) {
			if ended[name] {
				return
			}
			k := byName[name]
			dir := e == nil || e.Kind == layerindex.Directory
			if e != nil && e.Opaque || !dir {
				ended[name] = true
			}
			switch {
			case k == nil && e != nil && e.Kind == layerindex.Whiteout:
			case k == nil:
				k = &node{name: name, entry: e}
				byName[name] = k
				n.kids = append(n.kids, k)
			case dir && k.entry == nil:
				k.entry = e
			}
			if dir {
				k.parts = append(k.parts, below)
			}
		})
	}
	slices.SortFunc(n.kids, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	return n.kids
}

// each calls fn for everything directly in the directory, in order: e is nil
// if the layer only knows what is below it.
func (p part) each(fn func(name string, e *layerindex.Entry, below part)) {
	start := len(p.path)
	if start > 0 {
		start++
	}
	for rest := p.below; len(rest) > 0; {
		full := rest[0].Path
		if i := strings.IndexByte(full[start:], '/'); i >= 0 {
			full = full[:start+i]
		}
		var e *layerindex.Entry
		if rest[0].Path == full {
			e, rest = &rest[0], rest[1:]
		}
		// Everything below full follows directly.
		prefix := full + "/"
		n := sort.Search(len(rest), func(i int) bool { return !strings.HasPrefix(rest[i].Path, prefix) })
		fn(full[start:], e, part{layer: p.layer, path: full, below: rest[:n]})
		rest = rest[n:]
	}
}

// child finds a name in a directory.
func (n *node) child(name string) *node {
	kids := n.children()
	i, ok := slices.BinarySearchFunc(kids, name, func(k *node, name string) int { return cmp.Compare(k.name, name) })
	if !ok {
		return nil
	}
	return kids[i]
}

// digest of a file, or of a directory with all below it: the header, then for
// each child its name and digest, names preceded by NUL (wire format fact:
// remote caches are keyed by it). A directory that a single layer knows is
// remembered with the layer, for all chains that have it.
func (n *node) digest() digest.Digest {
	if !n.isDir() {
		return n.header()
	}
	alone := len(n.parts) == 1 && n.entry != nil && !n.bare
	if alone {
		if d, ok := n.parts[0].layer.directory(n.parts[0].path); ok {
			return d
		}
	}
	h := sha256.New()
	write := func(name string, d digest.Digest) {
		h.Write([]byte{0})
		h.Write([]byte(name))
		h.Write([]byte(d))
	}
	write("", n.header())
	for _, k := range n.children() {
		write(k.name, k.digest())
	}
	d := digest.NewDigest(digest.SHA256, h)
	if alone {
		n.parts[0].layer.remember(n.parts[0].path, d)
	}
	return d
}

// maxLinks bounds the symbolic links on the way to one path.
const maxLinks = 255

var errTooManyLinks = errors.New("too many links")

// lookup finds an absolute path, resolving symbolic links on the way as if the
// tree were the root of everything, at the end only if follow is set. It
// returns the path without links, and a nil node if nothing is there.
func (t *tree) lookup(p string, follow bool) (string, *node, error) {
	at := []*node{t.root} // the way from the root; nil where nothing is
	names := []string{}
	rest := p
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				at, names = at[:len(at)-1], names[:len(names)-1]
			}
			continue
		}
		var next *node
		if dir := at[len(at)-1]; dir != nil && dir.isDir() {
			next = dir.child(name)
		}
		if next == nil || !next.isSymlink() || !follow && strings.Trim(rest, "/") == "" {
			at, names = append(at, next), append(names, name)
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("resolve %q: %w", p, errTooManyLinks)
		}
		target := next.entry.LinkName
		// Absolute links start over at the tree's root, never at the host's.
		if path.IsAbs(target) {
			at, names = at[:1], names[:0]
		}
		rest = target + "/" + rest
		if len(rest) > maxPathLength {
			return "", nil, fmt.Errorf("resolve %q: path becomes longer than %d bytes", p, maxPathLength)
		}
	}
	return "/" + strings.Join(names, "/"), at[len(at)-1], nil
}

// maxPathLength bounds what links can blow a path up to.
const maxPathLength = 64 << 10
