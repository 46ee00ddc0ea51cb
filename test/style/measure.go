package style

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"sort"
)

// Sample is one measured value and where it was found.
type Sample struct {
	Value int
	Where string
	// Test is set for values found in test files.
	Test bool
}

// Samples are the values of one measure over the tree.
type Samples []Sample

// P95 is the 95th percentile of the production values by nearest rank; 0 if
// there are none.
func (s Samples) P95() int {
	var values []int
	for _, sample := range s {
		if !sample.Test {
			values = append(values, sample.Value)
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)*95+99)/100-1]
}

// Worst returns the n largest values, largest first.
func (s Samples) Worst(n int) Samples {
	sorted := slices.Clone(s)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].Value > sorted[j].Value })
	return sorted[:min(n, len(sorted))]
}

// Against returns what the limit has to say: one line per value beyond its
// maximum, and one for the percentile with the values that push it up.
func (s Samples) Against(measure string, limit Limit) []string {
	var lines []string
	for _, sample := range s.Worst(len(s)) {
		if sample.Value > limit.Max {
			lines = append(lines, fmt.Sprintf("%s: %d, none may be over %d: %s", measure, sample.Value, limit.Max, sample.Where))
		}
	}
	if p95 := s.P95(); limit.P95 > 0 && p95 > limit.P95 {
		lines = append(lines, fmt.Sprintf("%s: 95th percentile is %d, the bar is %d; the largest:", measure, p95, limit.P95))
		production := slices.DeleteFunc(slices.Clone(s), func(sample Sample) bool { return sample.Test })
		for _, sample := range production.Worst(10) {
			lines = append(lines, fmt.Sprintf("%s:   %d %s", measure, sample.Value, sample.Where))
		}
	}
	return lines
}

// fileLines measures whole files.
func fileLines(files []*File) Samples {
	var s Samples
	for _, f := range files {
		s = append(s, Sample{f.Lines, f.Path, f.Test})
	}
	return s
}

// perFunction measures every function with a body.
func perFunction(files []*File, measure func(*File, *ast.FuncDecl) int) Samples {
	var s Samples
	for _, f := range files {
		f.functions(func(fn *ast.FuncDecl) {
			s = append(s, Sample{measure(f, fn), f.At(fn.Pos()) + " " + fn.Name.Name, f.Test})
		})
	}
	return s
}

// functionLines counts from the keyword to the closing brace.
func functionLines(f *File, fn *ast.FuncDecl) int {
	return f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
}

// cyclomatic counts branches; see the package comment.
func cyclomatic(_ *File, fn *ast.FuncDecl) int {
	number := 1
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			number++
		case *ast.CaseClause:
			if n.List != nil {
				number++
			}
		case *ast.CommClause:
			if n.Comm != nil {
				number++
			}
		case *ast.BinaryExpr:
			if n.Op == token.LAND || n.Op == token.LOR {
				number++
			}
		}
		return true
	})
	return number
}

// parameters counts names, or types where there are no names; 0 where the
// signature is not ours to choose.
func parameters(f *File, fn *ast.FuncDecl) int {
	if foreignSignatures[f.Dir()+"."+fn.Name.Name] != "" {
		return 0
	}
	return fn.Type.Params.NumFields()
}

// interfaces measures the methods each named interface lists itself; embedded
// ones are measured where they stand. Allowed names are left out.
func interfaces(files []*File, allowed map[string]string) Samples {
	var s Samples
	for _, f := range files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			iface, ok := spec.Type.(*ast.InterfaceType)
			if !ok || allowed[f.Dir()+"."+spec.Name.Name] != "" {
				return true
			}
			methods := 0
			for _, field := range iface.Methods.List {
				methods += len(field.Names)
			}
			s = append(s, Sample{methods, f.At(spec.Pos()) + " " + spec.Name.Name, f.Test})
			return true
		})
	}
	return s
}

// commentShare is the percentage of comment lines in production files, with
// the files' own shares for the report.
func commentShare(files []*File) (percent float64, perFile Samples) {
	lines, comments := 0, 0
	for _, f := range files {
		if f.Test {
			continue
		}
		lines += f.Lines
		comments += f.CommentLines
		perFile = append(perFile, Sample{100 * f.CommentLines / f.Lines, fmt.Sprintf("%s (%d lines)", f.Path, f.Lines), false})
	}
	if lines == 0 {
		return 0, nil
	}
	return 100 * float64(comments) / float64(lines), perFile
}
