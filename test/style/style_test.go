package style

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestBar measures the tree; run it with -v for the figures of a passing tree.
func TestBar(t *testing.T) {
	files, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		name    string
		samples Samples
		limit   Limit
	}{
		{"file lines", fileLines(files), FileLines},
		{"function lines", perFunction(files, functionLines), FunctionLines},
		{"cyclomatic number", perFunction(files, cyclomatic), Cyclomatic},
		{"parameters", perFunction(files, parameters), Parameters},
		{"interface methods", interfaces(files, wideInterfaces), InterfaceMethods},
	} {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			for _, line := range m.samples.Against(m.name, m.limit) {
				t.Error(line)
			}
			t.Logf("%d values, 95th percentile %d; the largest:", len(m.samples), m.samples.P95())
			for _, s := range m.samples.Worst(5) {
				t.Logf("  %5d %s", s.Value, s.Where)
			}
		})
	}
	t.Run("comments", func(t *testing.T) {
		percent, perFile := commentShare(files)
		t.Logf("%.1f %% of production lines are comments", percent)
		if percent < Comments.Min || percent > Comments.Max {
			t.Errorf("%.1f %% of production lines are comments, the bar is %.0f to %.0f", percent, Comments.Min, Comments.Max)
			for _, s := range perFile.Worst(8) {
				t.Logf("  most:  %3d %% %s", s.Value, s.Where)
			}
			least := perFile.Worst(len(perFile))
			slices.Reverse(least)
			for _, s := range least[:min(8, len(least))] {
				t.Logf("  least: %3d %% %s", s.Value, s.Where)
			}
		}
	})
	for _, rule := range Rules {
		t.Run(strings.ReplaceAll(rule.Name, " ", "_"), func(t *testing.T) {
			for _, line := range rule.check(files) {
				t.Error(line)
			}
		})
	}
}

// sample parses a made-up file.
func sample(t *testing.T, name, text string) *File {
	t.Helper()
	f, err := parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMeasures checks the measures on code whose numbers are known.
func TestMeasures(t *testing.T) {
	f := sample(t, "a/a.go", `// Package a is here.
package a

// Wide has two methods.
type Wide interface {
	M()
	N(int) // behind code: no comment line
}

/* a block
comment */
func f(a, b int, _ string) int {
	if a > 1 && b > 1 || a == 0 {
		return 1
	}
	for range b {
		switch a {
		case 1, 2:
		default:
		}
	}
	return func() int { select { case <-make(chan int): return 1; default: return 2 } }()
}
`)
	files := []*File{f}
	if f.Lines != 23 || f.CommentLines != 4 {
		t.Errorf("got %d lines and %d comment lines", f.Lines, f.CommentLines)
	}
	for name, got := range map[string]struct{ samples, want Samples }{
		"lines":      {perFunction(files, functionLines), Samples{{12, "a/a.go:12 f", false}}},
		"cyclomatic": {perFunction(files, cyclomatic), Samples{{7, "a/a.go:12 f", false}}},
		"parameters": {perFunction(files, parameters), Samples{{3, "a/a.go:12 f", false}}},
		"interfaces": {interfaces(files, nil), Samples{{2, "a/a.go:5 Wide", false}}},
		"allowed":    {interfaces(files, map[string]string{"a.Wide": "mirror"}), nil},
	} {
		if !slices.Equal(got.samples, got.want) {
			t.Errorf("%s: got %v, want %v", name, got.samples, got.want)
		}
	}
}

// TestLimit checks maxima and percentiles.
func TestLimit(t *testing.T) {
	var s Samples
	for i := 1; i <= 100; i++ {
		s = append(s, Sample{Value: i, Where: fmt.Sprint("f", i)})
	}
	s = append(s, Sample{Value: 1000, Where: "t", Test: true})
	if s.P95() != 95 {
		t.Errorf("95th percentile of 1 to 100 is %d", s.P95())
	}
	if got := s.Against("x", Limit{P95: 95, Max: 1000}); got != nil {
		t.Errorf("within the limit: %q", got)
	}
	got := s.Against("x", Limit{P95: 94, Max: 999})
	if len(got) != 12 || !strings.HasSuffix(got[0], "over 999: t") || !strings.Contains(got[1], "percentile is 95") {
		t.Errorf("got %q", got)
	}
	if (Samples{}).P95() != 0 {
		t.Error("an empty tree has a percentile")
	}
}

// TestRules gives each rule one file that breaks it and one that does not.
func TestRules(t *testing.T) {
	for _, tc := range []struct{ rule, path, text, want string }{
		{"doc.go", "a/a.go", "// Package a.\npackage a\n", "a: no doc.go"},
		{"doc.go", "a/doc.go", "package a\n", "a: no doc.go"},
		{"doc.go", "a/doc.go", "// Package a.\npackage a\n", ""},
		{"documented", "a/a.go", "package a\n\ntype T struct{}\n", "a/a.go:3: T has no comment"},
		{"documented", "a/a.go", "package a\n\n// T is.\ntype T struct{}\n\nfunc (t *T) M() {}\n", "a/a.go:6: M has no comment"},
		{"documented", "a/a.go", "package a\n\n// T is.\ntype T interface {\n\tM()\n\t// N is.\n\tN()\n}\n", "a/a.go:5: T.M has no comment"},
		{"documented", "a/a.go", "package a\n\n// T is.\ntype T interface{ M() }\n", ""},
		{"documented", "a/a.go", "package a\n\ntype t[K any] struct{}\n\nfunc (t t[K]) M() {}\n", ""},
		{"documented", "a/a.go", "package a\n\n// Colours.\nconst (\n\tRed = 1\n\tBlue = 2\n)\n", ""},
		{"documented", "a/a.go", "package a\n\nvar Red = 1\n", "a/a.go:3: Red has no comment"},
		{"named", "a/util/a.go", "package util\n", `a/util: "util" says nothing`},
		{"contexts", "solver/a.go", "package a\n\nvar c = context.Background()\n", "solver/a.go:3: context.Background"},
		{"contexts", "cmd/kiln/a.go", "package main\n\nvar c = context.Background()\n", ""},
		{"init()", "solver/a.go", "package a\n\nfunc init() {}\n", "solver/a.go:3: init()"},
		{"init()", "plugin/register/a.go", "package a\n\nfunc init() {}\n", ""},
		{"unfinished", "a/a.go", "package a\n\n// " + "TO" + "DO: later\n", "a/a.go:3: TO" + "DO"},
		{"unfinished", "a/a.go", "package a\n\nvar s = \"TO" + "DO\"\n", ""},
	} {
		i := slices.IndexFunc(Rules, func(r Rule) bool { return strings.Contains(r.Name, tc.rule) })
		if i < 0 {
			t.Fatalf("no rule about %q", tc.rule)
		}
		got := Rules[i].check([]*File{sample(t, tc.path, tc.text)})
		if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tc.want)) {
			t.Errorf("%s on %q: got %q, want %q", tc.rule, tc.text, got, tc.want)
		}
	}
}
