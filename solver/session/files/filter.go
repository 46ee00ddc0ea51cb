package files

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/moby/patternmatcher"
)

// Patterns reduce a tree. All are slash-separated and relative to its root.
type Patterns struct {
	// Include, if not empty, lists what is sent; with the syntax of Exclude.
	Include []string
	// Exclude lists what is left out, as .dockerignore does: "**" crosses
	// directories, "!" brings back, the last match wins.
	Exclude []string
	// Follow lists paths, with wildcards, that are included together with
	// whatever symbolic links on the way to them point to.
	Follow []string
}

// maxLinks bounds the symbolic links followed for one path.
const maxLinks = 255

// filter decides what of a tree is sent.
type filter struct {
	include, exclude *patternmatcher.PatternMatcher
}

func newFilter(root links, p Patterns) (*filter, error) {
	f := &filter{}
	include := append([]string(nil), p.Include...)
	if len(p.Follow) > 0 {
		followed, err := followPaths(root, p.Follow)
		if err != nil {
			return nil, err
		}
		include = append(include, followed...)
	}
	var err error
	if len(include) > 0 {
		if f.include, err = patternmatcher.New(include); err != nil {
			return nil, fmt.Errorf("include patterns %q: %w", include, err)
		}
	}
	if len(p.Exclude) > 0 {
		if f.exclude, err = patternmatcher.New(p.Exclude); err != nil {
			return nil, fmt.Errorf("exclude patterns %q: %w", p.Exclude, err)
		}
	}
	return f, nil
}

// match says what to do with one entry.
type match struct {
	// send it; descend into it although it is not sent itself.
	send, descend    bool
	include, exclude patternmatcher.MatchInfo
}

func (f *filter) start() match { return match{send: true, descend: true} }

// match decides on name, whose parent directory got the decision parent.
func (f *filter) match(name string, parent match) (match, error) {
	m := match{send: true, descend: true}
	var err error
	name = filepath.FromSlash(name)
	if f.include != nil {
		m.send, m.include, err = f.include.MatchesUsingParentResults(name, parent.include)
		if err != nil {
			return m, err
		}
		m.descend = m.send || reaches(f.include, name)
	}
	if f.exclude != nil {
		var out bool
		out, m.exclude, err = f.exclude.MatchesUsingParentResults(name, parent.exclude)
		if err != nil {
			return m, err
		}
		if out {
			m.send = false
			m.descend = m.descend && brings(f.exclude, name)
		}
	}
	return m, nil
}

// reaches reports whether something below dir could match one of the
// positive patterns.
func reaches(pm *patternmatcher.PatternMatcher, dir string) bool {
	for _, p := range pm.Patterns() {
		if !p.Exclusion() && couldMatchBelow(p.String(), dir) {
			return true
		}
	}
	return false
}

// brings reports whether a "!" pattern could bring back something below dir.
func brings(pm *patternmatcher.PatternMatcher, dir string) bool {
	if !pm.Exclusions() {
		return false
	}
	for _, p := range pm.Patterns() {
		if p.Exclusion() && couldMatchBelow(p.String(), dir) {
			return true
		}
	}
	return false
}

// couldMatchBelow compares a pattern with a directory, part by part; "**"
// matches anything from there on.
func couldMatchBelow(pattern, dir string) bool {
	parts := strings.Split(filepath.ToSlash(pattern), "/")
	for i, d := range strings.Split(filepath.ToSlash(dir), "/") {
		if i >= len(parts) {
			return false
		}
		if strings.Contains(parts[i], "**") {
			return true
		}
		if ok, err := path.Match(parts[i], d); err == nil && !ok {
			return false
		}
	}
	return true
}

// followPaths resolves symbolic links of paths and returns, as include
// patterns, every link met and what it led to.
func followPaths(root links, paths []string) ([]string, error) {
	r := &resolver{root: root, found: map[string]bool{}}
	for _, p := range paths {
		p = path.Clean("/" + filepath.ToSlash(p))[1:]
		if p == "" {
			// The root itself: everything is included.
			return []string{"**"}, nil
		}
		if err := r.resolve("", strings.Split(p, "/"), maxLinks); err != nil {
			return nil, err
		}
	}
	out := make([]string, 0, len(r.found))
	for p := range r.found {
		out = append(out, p)
	}
	sort.Strings(out)
	return out, nil
}

type resolver struct {
	root  links
	found map[string]bool
}

// links is what following needs to know of a tree. Names are slash-separated;
// "." is the root.
type links interface {
	// readlink returns what a symbolic link points to; ok is false for what is
	// no link or not there.
	readlink(name string) (target string, ok bool, err error)
	// names lists a directory, in any order; nothing if it is none.
	names(dir string) ([]string, error)
}

// rootLinks are those of a directory on disk.
type rootLinks struct{ *os.Root }

func (r rootLinks) readlink(name string) (string, bool, error) {
	fi, err := r.Lstat(filepath.FromSlash(name))
	if err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		return "", false, nil //nolint:nilerr // the error appears where the path is used
	}
	target, err := r.Readlink(filepath.FromSlash(name))
	return filepath.ToSlash(target), true, err
}

func (r rootLinks) names(dir string) ([]string, error) {
	f, err := r.Open(filepath.FromSlash(dir))
	if err != nil {
		return nil, nil //nolint:nilerr // nothing matches in what is not there
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// resolve walks down rest from the real directory dir. Links that leave the
// root are taken as relative to it.
func (r *resolver) resolve(dir string, rest []string, left int) error {
	if len(rest) == 0 {
		if dir == "" {
			dir = "**"
		}
		r.found[dir] = true
		return nil
	}
	if strings.ContainsAny(rest[0], `*?[\`) {
		return r.resolveWildcard(dir, rest, left)
	}
	name := path.Join(dir, rest[0])
	target, ok, err := r.root.readlink(name)
	if err != nil {
		return fmt.Errorf("follow %q: %w", name, err)
	}
	if !ok {
		// What is not there stays a pattern, so that the error appears where
		// the path is used.
		return r.resolve(name, rest[1:], left)
	}
	if left == 0 {
		return fmt.Errorf("follow %q: too many symbolic links", name)
	}
	r.found[name] = true
	if !path.IsAbs(target) {
		target = path.Join("/", dir, target)
	}
	target = path.Clean(target)[1:]
	var parts []string
	if target != "" {
		parts = strings.Split(target, "/")
	}
	return r.resolve("", append(parts, rest[1:]...), left-1)
}

// resolveWildcard continues with every name in dir that matches.
func (r *resolver) resolveWildcard(dir string, rest []string, left int) error {
	if rest[0] == "**" {
		r.found[path.Join(append([]string{dir}, rest...)...)] = true
		return nil
	}
	names, err := r.root.names(path.Join(".", dir))
	if err != nil {
		return fmt.Errorf("follow %q: %w", path.Join(dir, rest[0]), err)
	}
	for _, n := range names {
		ok, err := path.Match(rest[0], n)
		if err != nil {
			return fmt.Errorf("follow %q: %w", rest[0], err)
		}
		if !ok || strings.ContainsAny(n, `*?[\`) {
			continue
		}
		if err := r.resolve(dir, append([]string{n}, rest[1:]...), left); err != nil {
			return err
		}
	}
	return nil
}

func sortEntries(e []fs.DirEntry) {
	sort.Slice(e, func(i, j int) bool { return e[i].Name() < e[j].Name() })
}
