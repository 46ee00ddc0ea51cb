package layers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// observe looks at every Go file below root, so that the result of this test
// is cached only as long as none of them changes: go test sees what a test
// opens, not what `go list` opens for it.
func observe(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestTree is the rule itself: the tree as it stands keeps the table.
func TestTree(t *testing.T) {
	observe(t, "../..")
	tree, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Internal()) < 2 {
		t.Fatalf("found %d packages of %s: the listing is not of this module", len(tree.Internal()), Module)
	}
	for _, broken := range House().Check(tree) {
		t.Error(broken)
	}
}

// TestTable keeps the table itself sound: every line has a reason, rooms are
// unambiguous, and names used on the right exist on the left.
func TestTable(t *testing.T) {
	rules, seen := House(), map[string]bool{}
	for _, room := range rules.Rooms {
		if room.Reason == "" {
			t.Errorf("room %s has no reason", room.Path)
		}
		if seen[room.Path] {
			t.Errorf("room %s stands in the table twice", room.Path)
		}
		seen[room.Path] = true
	}
	for _, room := range rules.Rooms {
		for _, name := range room.Siblings {
			if !seen[name] {
				t.Errorf("room %s names %s, which has no line", room.Path, name)
			}
		}
		for _, name := range slices.Concat(room.Only, room.Not) {
			if rules.room(Module+"/"+strings.TrimSuffix(name, "!")) == nil {
				t.Errorf("room %s names %s, which stands in no room", room.Path, name)
			}
		}
	}
	for _, fence := range rules.Fences {
		if fence.Reason == "" {
			t.Errorf("fence %s has no reason", fence.Path)
		}
	}
}

// imports builds a tree of production packages from "from: to to" lines;
// paths without a dot in their first element belong to the module, "std/x"
// stands for the standard library's x, "test:" prefixes a test import.
func imports(lines ...string) Tree {
	full := func(name string) string {
		first, _, _ := strings.Cut(name, "/")
		if std, ok := strings.CutPrefix(name, "std/"); ok {
			return std
		}
		if strings.Contains(first, ".") {
			return name
		}
		return Module + "/" + name
	}
	tree := Tree{}
	for _, l := range lines {
		from, list, _ := strings.Cut(l, ":")
		p := &Package{ImportPath: full(from), GoFiles: []string{"x.go"}}
		for _, to := range strings.Fields(list) {
			if name, ok := strings.CutPrefix(to, "test="); ok {
				p.TestImports = append(p.TestImports, full(name))
			} else {
				p.Imports = append(p.Imports, full(to))
			}
		}
		tree[p.ImportPath] = p
	}
	return tree
}

// TestCheck shows each kind of rule at work on a small made-up tree.
func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name string
		tree Tree
		want string // part of the only line; "" for a clean tree
	}{
		{"up the rows", imports("solver/build: solver/graph solver", "solver/graph: solver", "solver: std/fmt"), ""},
		{"down the rows", imports("solver/graph: solver/build", "solver/build:"), "solver/graph → solver/build: row 2 may not import row 5"},
		{"siblings", imports("solver/ref: solver/cache", "solver/cache:"), "solver/ref → solver/cache: rooms of one row"},
		{"shown siblings", imports("solver/history: solver/build", "solver/build:"), ""},
		{"own contract", imports("solver/source/git: solver/source solver/ref", "solver/source:", "solver/ref:"), ""},
		{"other implementation", imports("solver/source/git: solver/source/http", "solver/source/http:"), "never another implementation"},
		{"contract to implementation", imports("solver/executor: solver/executor/runc", "solver/executor/runc:"), "none of its implementations"},
		{"closed list", imports("differ/apply: solver", "solver:"), "differ/apply → solver: a containerd differ"},
		{"closed external list", imports("solver: go.etcd.io/bbolt"), "solver → go.etcd.io/bbolt: the contracts"},
		{"standard library refused", imports("solver/graph: std/os"), "solver/graph → os: the scheduler"},
		{"op and contract", imports("solver/op/exec: solver/executor", "solver/executor:"), ""},
		{"op and foreign contract", imports("solver/op/exec: solver/source", "solver/source:"), "one contract it drives"},
		{"no room", imports("attic: std/fmt"), "attic: stands in no room"},
		{"banned, far away", imports("dockerapi: example.org/a", "example.org/a: github.com/moby/buildkit/client"),
			"dockerapi → example.org/a → github.com/moby/buildkit/client: the wire names"},
		{"banned in a test", imports("dockerapi: test=github.com/moby/buildkit/client"), "dockerapi (test) → github.com/moby/buildkit/client"},
		{"fence", imports("solver/frontend/dockerfile: solver/frontend", "solver/frontend: solver/ref", "solver/ref:"),
			"solver/frontend/dockerfile → solver/frontend → solver/ref: the Dockerfile frontend"},
		{"contract too heavy", imports("solver/export: solver/pb/a solver/pb/b solver/pb/c solver/pb/d solver/pb/e solver/pb/f"),
			"solver/export pulls in 6 packages"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := House().Check(tc.tree)
			if tc.want == "" && len(got) > 0 {
				t.Fatalf("clean tree refused: %q", got)
			}
			if tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
				t.Fatalf("got %q, want one line with %q", got, tc.want)
			}
		})
	}
}

// TestCycles shows that folders may not need each other even where packages
// do not form a cycle.
func TestCycles(t *testing.T) {
	tree := imports("a/x: b/y", "b/z: a/w", "b/y:", "a/w:")
	got := cycles(tree, 1)
	if len(got) != 1 || !strings.Contains(got[0], "a → b → a") {
		t.Fatalf("got %q, want the cycle a → b → a", got)
	}
	if deep := cycles(tree, 2); len(deep) != 0 {
		t.Fatalf("packages without a cycle reported: %q", deep)
	}
}
