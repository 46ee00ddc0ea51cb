package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	// maxTrees bounds the repositories of one checkout, maxDepth submodules in
	// submodules, maxModules those of one repository.
	maxTrees   = 1000
	maxDepth   = 16
	maxModules = 1000
)

// module is one section of a repository's list of submodules.
type module struct {
	name, path, url string
	// skip says that the repository wants it left out.
	skip bool
}

// modulesFile is the list; a link in its place is not followed.
const modulesFile = ".gitmodules"

// readModules reads the list of submodules.
func (v *view) readModules(ctx context.Context) error {
	mode, id, err := v.entry(ctx, modulesFile)
	if err != nil || !strings.HasPrefix(mode, "100") {
		return err
	}
	out, err := v.mirror.git.local().run(ctx, "config", "--null", "--blob", id, "--list")
	if err != nil {
		return err
	}
	v.modules, err = parseModules(string(out))
	return err
}

// parseModules reads git's listing of the file: "key\nvalue" and a zero byte
// for each value. Of sections with one path the last counts; those that miss
// something are left out.
func parseModules(out string) (map[string]module, error) {
	byName := map[string]*module{}
	var order []string
	for rec := range strings.SplitSeq(out, "\x00") {
		key, value, _ := strings.Cut(rec, "\n")
		rest, ok := strings.CutPrefix(key, "submodule.")
		i := strings.LastIndexByte(rest, '.')
		if !ok || i < 0 {
			continue
		}
		name := rest[:i]
		m := byName[name]
		if m == nil {
			if len(byName) >= maxModules {
				return nil, fmt.Errorf("more than %d submodules: %w", maxModules, errdefs.ErrResourceExhausted)
			}
			m = &module{name: name}
			byName[name] = m
			order = append(order, name)
		}
		switch rest[i+1:] {
		case "path":
			m.path = strings.TrimSuffix(value, "/")
		case "url":
			m.url = value
		case "update":
			m.skip = value == "none"
		}
	}
	modules := map[string]module{}
	for _, name := range order {
		if m := byName[name]; m.url != "" && localPath(m.path) {
			modules[m.path] = *m
		}
	}
	return modules, nil
}

// localPath reports whether a path stays below where it starts.
func localPath(p string) bool {
	return p != "" && path.Clean(p) == p && filepath.IsLocal(p) && p != "."
}

// below returns the trees of the submodules that are checked out with t.
func (v *view) below(ctx context.Context, t tree) ([]tree, error) {
	var out []tree
	for _, p := range slices.Sorted(maps.Keys(v.modules)) {
		mod, rel := v.modules[p], p
		if t.subdir != "" {
			var ok bool
			if rel, ok = strings.CutPrefix(p, t.subdir+"/"); !ok {
				continue
			}
		}
		mode, id, err := v.entry(ctx, p)
		if err != nil {
			return nil, err
		}
		if mode != modeGitlink || mod.skip {
			continue
		}
		sub, err := v.tree(mod, id)
		if err != nil {
			return nil, err
		}
		if sub.dir, err = emptyDir(t.dir, rel); err != nil {
			return nil, err
		}
		if t.repository != "" {
			// By a name of our own: theirs could lead into each other.
			sum := sha256.Sum256([]byte(mod.name))
			sub.repository = filepath.Join(t.repository, "modules", hex.EncodeToString(sum[:8]))
		}
		out = append(out, sub)
	}
	return out, nil
}

// tree is the repository of a submodule at a commit.
func (v *view) tree(mod module, id string) (tree, error) {
	if !isCommit(id) {
		return tree{}, fmt.Errorf("submodule %q has commit %q: %w", mod.name, id, errdefs.ErrInvalidArgument)
	}
	rem, err := v.remote.resolve(mod.url)
	if err != nil {
		return tree{}, fmt.Errorf("submodule %q has URL %q: %w", mod.name, redactURL(mod.url), err)
	}
	return tree{remote: rem, want: want{id: id}}, nil
}

// redactURL leaves out everything before the last @ of what may be a URL.
func redactURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "xxxxx" + s[i:]
	}
	return s
}

// emptyDir returns the directory that git has made for a submodule. That there
// are only directories on the way, and nothing in it, is checked through a root.
func emptyDir(dir, rel string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	parts := strings.Split(rel, "/")
	for i := range parts {
		p := strings.Join(parts[:i+1], "/")
		info, err := root.Lstat(p)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory: %w", p, errdefs.ErrInvalidArgument)
		}
		if err != nil {
			return "", fmt.Errorf("submodule at %s: %w", rel, err)
		}
	}
	f, err := root.Open(rel)
	if err != nil {
		return "", fmt.Errorf("submodule at %s: %w", rel, err)
	}
	defer f.Close()
	if names, _ := f.Readdirnames(1); len(names) > 0 {
		return "", fmt.Errorf("submodule at %s: the directory is not empty: %w", rel, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(dir, filepath.FromSlash(rel)), nil
}
