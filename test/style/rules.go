package style

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"sort"
	"strings"
)

// Rule is a yes-or-no rule about the tree; check returns one line per breach,
// each starting with its place.
type Rule struct {
	Name  string
	check func(files []*File) []string
}

// Rules are the rules beside the limits.
var Rules = []Rule{
	{"every package has a doc.go with its promise", packageDocs},
	{"every exported name is documented", perFile(exportedDocs)},
	{"packages are named after their content", packageNames},
	{"contexts come from the caller", perFile(freshContexts)},
	{"init() stands only where a plugin registers itself", perFile(inits)},
	{"nothing says of itself that it is unfinished", perFile(unfinishedWords)},
}

// perFile makes a check of the whole tree out of one of a single file.
func perFile(check func(*File) []string) func([]*File) []string {
	return func(files []*File) []string {
		var lines []string
		for _, f := range files {
			lines = append(lines, check(f)...)
		}
		return lines
	}
}

// packageDocs looks for doc.go with a package comment in each folder that has
// production files.
func packageDocs(files []*File) []string {
	documented := map[string]bool{}
	for _, f := range files {
		if !f.Test {
			has := path.Base(f.Path) == "doc.go" && f.syntax.Doc != nil
			documented[f.Dir()] = documented[f.Dir()] || has
		}
	}
	var lines []string
	for dir, ok := range documented {
		if !ok {
			lines = append(lines, dir+": no doc.go with a package comment")
		}
	}
	sort.Strings(lines)
	return lines
}

// exportedDocs looks at top-level names, methods of exported types and methods
// of exported interfaces. A comment on a group covers its constants and
// variables.
func exportedDocs(f *File) []string {
	if f.Test {
		return nil
	}
	var lines []string
	missing := func(pos token.Pos, name string) {
		lines = append(lines, fmt.Sprintf("%s: %s has no comment", f.At(pos), name))
	}
	for _, decl := range f.syntax.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Name.IsExported() && decl.Doc == nil && exportedReceiver(decl) {
				missing(decl.Pos(), decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				undocumented(spec, decl.Doc != nil, missing)
			}
		}
	}
	return lines
}

// undocumented reports the exported names of one type, constant or variable
// declaration that lack a comment; group says that the surrounding declaration
// has one.
func undocumented(spec ast.Spec, group bool, missing func(token.Pos, string)) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() && !group && spec.Doc == nil && spec.Comment == nil {
				missing(name.Pos(), name.Name)
			}
		}
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return
		}
		if !group && spec.Doc == nil {
			missing(spec.Pos(), spec.Name.Name)
		}
		iface, ok := spec.Type.(*ast.InterfaceType)
		// The comment of a one-method interface is that of its method.
		if !ok || len(iface.Methods.List) < 2 {
			return
		}
		for _, field := range iface.Methods.List {
			if len(field.Names) > 0 && field.Names[0].IsExported() && field.Doc == nil && field.Comment == nil {
				missing(field.Pos(), spec.Name.Name+"."+field.Names[0].Name)
			}
		}
	}
}

// exportedReceiver reports a plain function or a method of an exported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	expr := fn.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}

// packageNames looks at folder elements and package clauses.
func packageNames(files []*File) []string {
	seen := map[string]bool{}
	var lines []string
	for _, f := range files {
		for _, name := range append(strings.Split(f.Dir(), "/"), strings.TrimSuffix(f.syntax.Name.Name, "_test")) {
			if badNames[name] && !seen[f.Dir()] {
				seen[f.Dir()] = true
				lines = append(lines, fmt.Sprintf("%s: %q says nothing about the content", f.Dir(), name))
			}
		}
	}
	return lines
}

// freshContexts looks for contexts nobody can cancel.
func freshContexts(f *File) []string {
	if f.Test || f.syntax.Name.Name == "main" || detached[f.Path] != "" || within(f.Path, "cmd") || within(f.Path, "test") {
		return nil
	}
	var lines []string
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "context" && (sel.Sel.Name == "Background" || sel.Sel.Name == "TODO") {
			lines = append(lines, fmt.Sprintf("%s: context.%s: take it from the caller, or use context.WithoutCancel for clean-up", f.At(n.Pos()), sel.Sel.Name))
		}
		return true
	})
	return lines
}

// inits looks for init functions.
func inits(f *File) []string {
	if within(f.Path, "plugin/register") {
		return nil
	}
	var lines []string
	f.functions(func(fn *ast.FuncDecl) {
		if fn.Name.Name == "init" && fn.Recv == nil {
			lines = append(lines, f.At(fn.Pos())+": init() outside plugin/register")
		}
	})
	return lines
}

// unfinishedWord matches the words of unfinished work in a comment.
var unfinishedWord = regexp.MustCompile(`\b(` + strings.Join(unfinished, "|") + `)\b`)

// unfinishedWords looks into comments only: a program may well talk about such
// words.
func unfinishedWords(f *File) []string {
	var lines []string
	for _, group := range f.syntax.Comments {
		for _, c := range group.List {
			if word := unfinishedWord.FindString(c.Text); word != "" {
				lines = append(lines, fmt.Sprintf("%s: %s: finish it or file it", f.At(c.Pos()), word))
			}
		}
	}
	return lines
}

// within reports a path below a folder.
func within(file, dir string) bool { return strings.HasPrefix(file, dir+"/") }
