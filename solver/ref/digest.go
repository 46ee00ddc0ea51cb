package ref

import (
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"
)

// ContentOptions say what ContentDigest takes in.
type ContentOptions struct {
	// FollowLinks resolves a symbolic link at the end of the path.
	FollowLinks bool
	// Wildcard gives *, ?, [ and \ in the path their meaning in path.Match.
	Wildcard bool
	// Include and Exclude are patterns in the syntax of .dockerignore,
	// relative to the path.
	Include, Exclude []string
	// Required are absolute paths of which each must be the beginning of a
	// path taken in.
	Required []string
}

// simple options need no walk.
func (o *ContentOptions) simple() bool {
	return !o.Wildcard && len(o.Include) == 0 && len(o.Exclude) == 0
}

// ContentDigest returns the digest of what is at path, an absolute path, as
// remote caches are keyed by it: modes, owners, attributes, names and bytes,
// but no times. A directory includes all below it; a path that ends in a slash
// leaves the directory's own attributes out when options select from it. It
// looks at indexes only. What is not there is an error of kind NotFound whose
// text is `"<path>": not found`; selections may be empty. A nil Ref has
// nothing but "/", and says so in the words of the system.
func (r *Ref) ContentDigest(ctx context.Context, p string, opt ContentOptions) (digest.Digest, error) {
	if r == nil {
		if p == "/" {
			return digest.FromBytes(nil), nil
		}
		return "", fmt.Errorf("%s: no such file or directory: %w", p, errdefs.ErrNotFound)
	}
	s := r.e.s
	memo := fmt.Sprintf("%s %q %+v", r.e.lease, p, opt)
	if d, ok := s.digests.get(memo); ok {
		return d, nil
	}
	t, err := s.tree(ctx, r.e)
	if err != nil {
		return "", err
	}
	var d digest.Digest
	if opt.simple() {
		d, err = t.pathDigest(p, opt.FollowLinks)
	} else {
		d, err = t.selectionDigest(ctx, p, &opt)
	}
	if err != nil {
		return "", err
	}
	s.digests.put(memo, d)
	return d, nil
}

// tree returns the tree of e. e is held by the caller.
func (s *Store) tree(ctx context.Context, e *entry) (*tree, error) {
	var chain []*layerIndex
	for _, layer := range e.chain() {
		idx, err := s.index(ctx, layer)
		if err != nil {
			return nil, err
		}
		chain = append(chain, idx)
	}
	t := newTree(chain)
	// Clients send what is in a directory and nothing of itself (wire format
	// fact).
	t.root.bare = e.recordType() == TypeLocal
	return t, nil
}

// cleanPath is the form of paths in keys: absolute and clean, the root empty.
func cleanPath(p string) string {
	if p = path.Join("/", p); p == "/" {
		return ""
	}
	return p
}

// pathDigest is the digest of one path.
func (t *tree) pathDigest(p string, follow bool) (digest.Digest, error) {
	p = cleanPath(p)
	_, n, err := t.lookup(p, follow)
	if err != nil {
		return "", err
	}
	if n == nil {
		return "", fmt.Errorf("%q: %w", p, errdefs.ErrNotFound)
	}
	return n.digest(), nil
}

// selected is one path taken in.
type selected struct {
	path   string
	digest digest.Digest
}

// selectionDigest is the digest of the paths that opt selects at p. A single
// one that has the name asked for stands for itself (wire format fact).
func (t *tree) selectionDigest(ctx context.Context, p string, opt *ContentOptions) (digest.Digest, error) {
	prefix, paths, err := t.selection(ctx, p, opt)
	if err != nil {
		return "", err
	}
	for _, required := range opt.Required {
		if !slices.ContainsFunc(paths, func(s selected) bool { return strings.HasPrefix(s.path, required) }) {
			return "", fmt.Errorf("%q: %w", required, errdefs.ErrNotFound)
		}
	}
	if len(paths) == 0 {
		return digest.FromBytes(nil), nil
	}
	if len(paths) == 1 && path.Base(p) == path.Base(paths[0].path) {
		return paths[0].digest, nil
	}
	h := sha256.New()
	for _, s := range paths {
		key := strings.ReplaceAll(strings.TrimPrefix(s.path, prefix), "/", "\x00")
		if key == "" {
			key = "\x00"
		}
		h.Write([]byte(key))
		h.Write([]byte(s.digest))
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// selector walks a tree and takes in what matches.
type selector struct {
	t   *tree
	opt *ContentOptions
	// p is the path asked for, cleaned; contents is set if it ended in a slash.
	p        string
	contents bool
	include  *patternmatcher.PatternMatcher
	exclude  *patternmatcher.PatternMatcher
	// matched is the last path that matched the wildcard: what is below it is
	// selected relative to it.
	matched string
	out     []selected
}

// ancestor is a directory on the way down, which is taken in when something
// below it is.
type ancestor struct {
	selected
	in               bool
	include, exclude patternmatcher.MatchInfo
}

// selection returns the paths taken in, parents first, in order, and the
// prefix of them that does not matter.
func (t *tree) selection(ctx context.Context, p string, opt *ContentOptions) (string, []selected, error) {
	s := &selector{t: t, opt: opt, p: cleanPath(p), contents: strings.HasSuffix(p, "/")}
	var err error
	if s.include, err = newMatcher("include", opt.Include); err != nil {
		return "", nil, err
	}
	if s.exclude, err = newMatcher("exclude", opt.Exclude); err != nil {
		return "", nil, err
	}
	// Patterns see the path as it was asked for, links on the way included.
	prefix, follow := s.p, false
	if opt.Wildcard {
		var pattern string
		prefix, pattern = splitWildcard(s.p)
		follow = pattern != ""
	}
	_, n, err := t.lookup(prefix, follow)
	if err != nil {
		return "", nil, err
	}
	if n == nil {
		return prefix, nil, nil
	}
	if err := s.walk(ctx, prefix, n, nil); err != nil {
		return "", nil, err
	}
	return prefix, s.out, nil
}

func newMatcher(what string, patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("invalid %spatterns: %s: %w", what, patterns, err)
	}
	return m, nil
}

// walk visits n, which is shown as p, and what is below it, in the order of
// names.
func (s *selector) walk(ctx context.Context, p string, n *node, above []*ancestor) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.opt.Wildcard && s.p != "" && (s.matched == "" || !strings.HasPrefix(p, s.matched+"/")) {
		ok, err := path.Match(s.p, p)
		if err != nil {
			return fmt.Errorf("pattern %q: %w", s.p, err)
		}
		if !ok && strings.Count(p, "/") >= strings.Count(s.p, "/") {
			return nil // a pattern matches as many components as it has
		}
		if !ok {
			return s.below(ctx, p, n, above)
		}
		s.matched = p
	}
	if n.isDir() && p == s.p && s.contents {
		return s.below(ctx, p, n, above)
	}
	a := &ancestor{selected: selected{path: p}}
	in, err := s.matches(a, above)
	if err != nil {
		return err
	}
	if in {
		if err := s.take(a, n, above); err != nil {
			return err
		}
	}
	if n.isDir() {
		if !in {
			a.digest = n.header()
		}
		above = append(above, a)
	}
	return s.below(ctx, p, n, above)
}

func (s *selector) below(ctx context.Context, p string, n *node, above []*ancestor) error {
	for _, k := range n.children() {
		if err := s.walk(ctx, p+"/"+k.name, k, above); err != nil {
			return err
		}
	}
	return nil
}

// take takes in the directories above, then the path itself. Of a directory
// that is its attributes: what is below it is selected one by one.
func (s *selector) take(a *ancestor, n *node, above []*ancestor) error {
	for _, dir := range above {
		if !dir.in {
			dir.in = true
			s.out = append(s.out, dir.selected)
		}
	}
	a.in, a.digest = true, n.header()
	if s.opt.FollowLinks && len(above) == 0 && n.isSymlink() {
		d, err := s.t.pathDigest(a.path, true)
		if err != nil {
			return err
		}
		a.digest = d
	}
	s.out = append(s.out, a.selected)
	return nil
}

// matches reports whether the patterns select the path.
func (s *selector) matches(a *ancestor, above []*ancestor) (bool, error) {
	base := s.p
	if s.opt.Wildcard {
		base = s.matched
	}
	rel := strings.TrimSuffix(strings.TrimPrefix(a.path+"/", base+"/"), "/")
	parent := &ancestor{}
	if len(above) > 0 {
		parent = above[len(above)-1]
	}
	if s.include != nil {
		ok, info, err := s.include.MatchesUsingParentResults(rel, parent.include)
		if err != nil {
			return false, fmt.Errorf("failed to match includepatterns: %w", err)
		}
		a.include = info
		if !ok {
			return false, nil
		}
	}
	if s.exclude != nil {
		ok, info, err := s.exclude.MatchesUsingParentResults(rel, parent.exclude)
		if err != nil {
			return false, fmt.Errorf("failed to match excludepatterns: %w", err)
		}
		a.exclude = info
		return !ok, nil
	}
	return true, nil
}

// splitWildcard splits a clean path before the first component with a wildcard.
func splitWildcard(p string) (fixed, pattern string) {
	parts := strings.Split(p, "/")
	i := slices.IndexFunc(parts, hasWildcard)
	if i < 0 {
		return p, ""
	}
	return strings.Join(parts[:i], "/"), strings.Join(parts[i:], "/")
}

// hasWildcard reports whether path.Match would treat the name as a pattern.
func hasWildcard(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// maxDigests bounds how many answers are remembered.
const maxDigests = 4096

// digestCache remembers answers. Refs never change, so they stay right.
type digestCache struct {
	mu    sync.Mutex
	known map[string]*list.Element
	order *list.List // of [2]string: question, digest; used last in front
}

func newDigestCache() *digestCache {
	return &digestCache{known: map[string]*list.Element{}, order: list.New()}
}

func (c *digestCache) get(question string) (digest.Digest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.known[question]
	if el == nil {
		return "", false
	}
	c.order.MoveToFront(el)
	return digest.Digest(el.Value.([2]string)[1]), true
}

func (c *digestCache) put(question string, d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[question] != nil {
		return
	}
	c.known[question] = c.order.PushFront([2]string{question, string(d)})
	for c.order.Len() > maxDigests {
		last := c.order.Remove(c.order.Back()).([2]string)
		delete(c.known, last[0])
	}
}
