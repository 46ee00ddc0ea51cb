package style

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// File is one parsed file of the tree.
type File struct {
	// Path is relative to the root, with slashes.
	Path string
	// Lines counts the lines, a last one without newline included.
	Lines int
	// CommentLines counts the lines that hold nothing but a comment.
	CommentLines int
	// Test is set for *_test.go.
	Test bool

	syntax *ast.File
	fset   *token.FileSet
}

// Dir returns the folder of the file, relative to the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// At returns PATH:LINE of a position in the file.
func (f *File) At(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", f.Path, f.fset.Position(pos).Line)
}

// Load parses every Go file below root that is not generated.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(rel), text)
		if f != nil && !ast.IsGenerated(f.syntax) {
			files = append(files, f)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read Go files below %s: %w", root, err)
	}
	return files, nil
}

// parse reads one file.
func parse(name string, text []byte) (*File, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	f := &File{Path: name, Test: strings.HasSuffix(name, "_test.go"), syntax: syntax, fset: fset}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	f.Lines = len(lines)
	// A comment behind code belongs to a code line and is not counted.
	for _, group := range syntax.Comments {
		for _, c := range group.List {
			from, to := fset.Position(c.Pos()), fset.Position(c.End())
			if strings.TrimSpace(lines[from.Line-1][:from.Column-1]) == "" {
				f.CommentLines += to.Line - from.Line + 1
			}
		}
	}
	return f, nil
}

// functions calls visit with every function declaration that has a body.
func (f *File) functions(visit func(*ast.FuncDecl)) {
	for _, decl := range f.syntax.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
			visit(fn)
		}
	}
}
