package layers

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Rules is a complete table: rooms, fences and bans.
type Rules struct {
	// Rooms must be unambiguous: no two with the same Path.
	Rooms []Room
	// Fences are checked besides the rooms.
	Fences []Fence
	// Banned maps an import path prefix to the reason of its ban.
	Banned map[string]string
}

// House returns the rules of this repository.
func House() Rules {
	return Rules{Rooms: Rooms, Fences: Fences, Banned: Banned}
}

// Check returns one line per broken rule: the chain of imports, then the
// reason. A tree that keeps all rules gives an empty list.
func (r Rules) Check(tree Tree) []string {
	var broken []string
	for _, p := range tree.Internal() {
		broken = append(broken, r.bans(tree, p)...)
		if len(p.GoFiles) == 0 {
			continue
		}
		room := r.room(p.ImportPath)
		if room == nil {
			broken = append(broken, fmt.Sprintf("%s: stands in no room: give it a line in test/layers/table.go", short(p.ImportPath)))
			continue
		}
		for _, to := range p.Imports {
			if why := r.refuse(tree, room, to); why != "" {
				broken = append(broken, line([]string{p.ImportPath, to}, why))
			}
		}
	}
	for _, f := range r.Fences {
		broken = append(broken, f.check(tree)...)
	}
	broken = append(broken, cycles(tree, 1)...)
	broken = append(broken, cycles(tree, 2)...)
	sort.Strings(broken)
	return slices.Compact(broken)
}

// room returns the room of an import path: the longest that covers it.
func (r Rules) room(path string) *Room {
	best, length := (*Room)(nil), -1
	for i := range r.Rooms {
		name := strings.TrimSuffix(r.Rooms[i].Path, "!")
		if covers(r.Rooms[i].Path, path) && len(name) > length {
			best, length = &r.Rooms[i], len(name)
		}
	}
	return best
}

// refuse returns why a package of room may not import to, or "".
func (r Rules) refuse(tree Tree, room *Room, to string) string {
	if under(to, room.NotExternal) {
		return room.Reason
	}
	if !isInternal(to) {
		if room.External == nil || standard(tree, to) || under(to, room.External) {
			return ""
		}
		return room.Reason
	}
	target := r.room(to)
	switch {
	case target == nil:
		return "" // Reported once, at the package itself.
	case target == room:
		return ""
	case room.Only != nil:
		if coveredBy(room.Only, to) {
			return ""
		}
		return room.Reason
	case coveredBy(room.Not, to):
		return room.Reason
	case target.Row < room.Row:
		return ""
	case target.Row > room.Row:
		return fmt.Sprintf("row %d may not import row %d: nothing knows what is above it", room.Row, target.Row)
	case slices.Contains(room.Siblings, target.Path):
		return ""
	}
	return room.Reason
}

// bans checks the modules nobody may use: by name in production code and
// tests, and through dependencies in production code.
func (r Rules) bans(tree Tree, p *Package) []string {
	var broken []string
	for prefix, why := range r.Banned {
		banned := func(path string) bool { return under(path, []string{prefix}) }
		if chain := tree.Path(p.ImportPath, banned); chain != nil {
			broken = append(broken, line(chain, why))
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if banned(to) {
				broken = append(broken, line([]string{p.ImportPath + " (test)", to}, why))
			}
		}
	}
	return broken
}

// check walks everything the fenced packages reach.
func (f Fence) check(tree Tree) []string {
	var broken []string
	for _, p := range tree.Internal() {
		if !covers(f.Path, p.ImportPath) || len(p.GoFiles) == 0 {
			continue
		}
		for _, not := range f.Not {
			crosses := func(path string) bool { return covers(not, path) || under(path, []string{not}) }
			if chain := tree.Path(p.ImportPath, crosses); chain != nil {
				broken = append(broken, line(chain, f.Reason))
			}
		}
		if f.MaxInternal == 0 {
			continue
		}
		var own []string
		for path := range tree.Reach(p.ImportPath) {
			if isInternal(path) {
				own = append(own, short(path))
			}
		}
		if len(own) > f.MaxInternal {
			sort.Strings(own)
			broken = append(broken, fmt.Sprintf("%s pulls in %d packages (%s): %s",
				short(p.ImportPath), len(own), strings.Join(own, ", "), f.Reason))
		}
	}
	return broken
}

// cycles looks at folders instead of packages, depth elements deep: Go forbids
// package cycles, but folders that need each other cannot be read one by one.
func cycles(tree Tree, depth int) []string {
	folders := Tree{}
	for _, p := range tree.Internal() {
		from := folder(p.ImportPath, depth)
		if folders[from] == nil {
			folders[from] = &Package{ImportPath: from}
		}
		for _, to := range p.Imports {
			if isInternal(to) && folder(to, depth) != from {
				folders[from].Imports = append(folders[from].Imports, folder(to, depth))
			}
		}
	}
	var broken []string
	for name, f := range folders {
		for _, to := range f.Imports {
			back := folders.Path(to, func(path string) bool { return path == name })
			// One line per cycle: the alphabetically first folder reports.
			if back != nil && name == slices.Min(back) {
				broken = append(broken, line(append([]string{name}, back...), "folders that need each other cannot be read one by one"))
			}
		}
	}
	return broken
}

// folder cuts an internal import path to its first elements below the module.
func folder(path string, depth int) string {
	parts := strings.Split(strings.TrimPrefix(path, Module+"/"), "/")
	return Module + "/" + strings.Join(parts[:min(depth, len(parts))], "/")
}

// covers reports whether a room path (see Room) covers an import path.
func covers(room, path string) bool {
	if name, exact := strings.CutSuffix(room, "!"); exact {
		return path == Module+"/"+name
	}
	return under(path, []string{Module + "/" + room})
}

// coveredBy reports whether any of the room paths covers the import path.
func coveredBy(rooms []string, path string) bool {
	return slices.ContainsFunc(rooms, func(room string) bool { return covers(room, path) })
}

// under reports whether path is one of the prefixes or lies below one.
func under(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	})
}

// isInternal reports whether the path belongs to the governed module.
func isInternal(path string) bool { return under(path, []string{Module}) }

// standard reports a package of the standard library; a path the listing does
// not know is judged by its first element, which has a dot in module paths.
func standard(tree Tree, path string) bool {
	if p := tree[path]; p != nil {
		return p.Standard
	}
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// line renders a chain of imports with its reason.
func line(chain []string, why string) string {
	names := make([]string, len(chain))
	for i, path := range chain {
		names[i] = short(path)
	}
	return strings.Join(names, " → ") + ": " + why
}

// short drops the module from a path, as every reader knows it.
func short(path string) string { return strings.TrimPrefix(path, Module+"/") }
