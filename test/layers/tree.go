package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sort"
	"strings"
)

// Package is what the rules need to know of one Go package.
type Package struct {
	// ImportPath is the full path.
	ImportPath string
	// Imports are the full paths production code names, standard library
	// included.
	Imports []string
	// TestImports and XTestImports are the same for the two kinds of tests.
	TestImports, XTestImports []string
	// Standard is set for packages of the standard library.
	Standard bool
	// DepOnly is set for packages that are only here because others of the
	// listing import them.
	DepOnly bool
	// GoFiles are the names of the production files of this platform.
	GoFiles []string
	// TestGoFiles and XTestGoFiles are the names of the test files.
	TestGoFiles, XTestGoFiles []string
}

// empty reports a folder without any Go file on this platform.
func (p *Package) empty() bool {
	return len(p.GoFiles)+len(p.TestGoFiles)+len(p.XTestGoFiles) == 0
}

// internal reports a package of the governed module.
func (p *Package) internal() bool {
	return p.ImportPath == Module || strings.HasPrefix(p.ImportPath, Module+"/")
}

// Tree is a set of packages with everything they import, by import path.
type Tree map[string]*Package

// Load lists all packages of the module at root and all they depend on.
// Folders that do not compile at the moment are listed as far as they can be
// read: a broken package is the compiler's to report.
func Load(root string) (Tree, error) {
	cmd := exec.Command("go", "list", "-e", "-deps",
		"-json=ImportPath,Imports,TestImports,XTestImports,Standard,DepOnly,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages of %s: %w: %s", root, err, stderr.String())
	}
	tree := Tree{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(Package)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return tree, nil
		} else if err != nil {
			return nil, fmt.Errorf("read package list of %s: %w", root, err)
		}
		tree[p.ImportPath] = p
	}
}

// Internal returns the module's own packages that hold Go files, by path.
func (t Tree) Internal() []*Package {
	var own []*Package
	for _, p := range t {
		if p.internal() && !p.empty() {
			own = append(own, p)
		}
	}
	sort.Slice(own, func(i, j int) bool { return own[i].ImportPath < own[j].ImportPath })
	return own
}

// Path returns the shortest chain of production imports from one package to
// the first for which found holds, both ends included; nil if there is none.
func (t Tree) Path(from string, found func(string) bool) []string {
	type step struct {
		path string
		prev *step
	}
	seen := map[string]bool{from: true}
	for queue := []*step{{path: from}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at.path != from && found(at.path) {
			var chain []string
			for s := at; s != nil; s = s.prev {
				chain = append([]string{s.path}, chain...)
			}
			return chain
		}
		p := t[at.path]
		if p == nil {
			continue
		}
		for _, next := range p.Imports {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, &step{next, at})
			}
		}
	}
	return nil
}

// Reach returns every package the given one pulls in through production
// imports, itself excluded.
func (t Tree) Reach(from string) map[string]bool {
	reached := map[string]bool{}
	t.Path(from, func(path string) bool {
		reached[path] = true
		return false
	})
	return reached
}
