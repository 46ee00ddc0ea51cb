package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver"
)

// step is one build of a scenario.
type step struct {
	graph  string
	target string // "name" or "name#output"
	value  string // expected; not checked if err is set
	runs   string // names of the ops that ran, sorted
	loads  int    // number of results loaded; -1 for any
	err    string // expected error text
	lose   string // results with this text cannot be loaded
}

var scenarios = map[string][]step{
	"a chain runs once and then loads only its top": {
		{graph: "a:\nb: a\nc: b", target: "c", value: "c(b(a()))", runs: "a b c"},
		{graph: "a:\nb: a\nc: b", target: "c", value: "c(b(a()))", loads: 1},
		{graph: "a:\nb: a\nc: b\nd: c", target: "d", value: "d(c(b(a())))", runs: "d", loads: 1},
	},
	"a diamond runs each side once": {
		{graph: "a:\nb: a\nc: a\nd: b c", target: "d", value: "d(b(a()),c(a()))", runs: "a b c d"},
	},
	"equal content ends the search": {
		{graph: "src: | yield=one\nbuild: src | yield=bin\nimg: build~", target: "img", value: "img(bin)", runs: "build img src"},
		// The source changed, so does what is built, but not into something else.
		{graph: "src: | key=src2 yield=two\nbuild: src | key=build2 yield=bin\nimg: build~", target: "img", value: "img(bin)", runs: "build src", loads: 1},
		// The definition leads there at once, because it was noted.
		{graph: "src: | key=src2 yield=two\nbuild: src | key=build2 yield=bin\nimg: build~", target: "img", value: "img(bin)", loads: 1},
	},
	"content inputs are resolved, others are not": {
		{graph: "base:\nctx: | volatile yield=files\ncopy: base ctx~\nrun: copy", target: "run",
			value: "run(copy(base(),files))", runs: "base copy ctx run"},
		{graph: "base:\nctx: | key=ctx2 volatile yield=files\ncopy: base ctx~\nrun: copy", target: "run",
			value: "run(copy(base(),files))", runs: "ctx", loads: 1},
	},
	"what is found by its key is not looked into": {
		{graph: "base:\nctx: | volatile yield=files\nstage: base ctx~\nimg: stage~", target: "img",
			value: "img(stage(base(),files))", runs: "base ctx img stage"},
		{graph: "base:\nctx: | key=ctx2 volatile yield=files\nstage: base ctx~\nimg: stage~", target: "img",
			value: "img(stage(base(),files))", runs: "ctx", loads: 1},
	},
	"an op's own content is what dependents are keyed by": {
		{graph: "img: | key=digest1 content=layers\nrun: img", target: "run", value: "run(layers())", runs: "img run"},
		{graph: "img: | key=digest2 content=layers\nrun: img", target: "run", value: "run(layers())", loads: 1},
	},
	"a lost result is made again": {
		{graph: "a:\nb: a", target: "b", value: "b(a())", runs: "a b"},
		{graph: "a:\nb: a", target: "b", value: "b(a())", runs: "b", loads: 1, lose: "b(a())"},
		{graph: "a:\nb: a", target: "b", value: "b(a())", loads: 1},
	},
	"a lost result found by definition is looked for by content": {
		{graph: "x: | yield=v\nw: x~", target: "w", value: "w(v)", runs: "w x"},
		{graph: "x: | yield=v\nw: x~", target: "w", value: "w(v)", runs: "w x", lose: "*"},
	},
	"ignore cache runs the vertex and what is built on it": {
		{graph: "a:\nb: a\nc: b", target: "c", value: "c(b(a()))", runs: "a b c"},
		{graph: "a:\nb: a | ignore\nc: b", target: "c", value: "c(b(a()))", runs: "b c", loads: 1},
		{graph: "a:\nb: a\nc: b", target: "c", value: "c(b(a()))", loads: 1},
	},
	"ignore cache stops where content is the same": {
		{graph: "a: | yield=bin\nc: a~", target: "c", value: "c(bin)", runs: "a c"},
		{graph: "a: | yield=bin ignore\nc: a~", target: "c", value: "c(bin)", runs: "a", loads: 1},
		{graph: "a: | yield=bin ignore\nc: a~\nd: c", target: "d", value: "d(c(bin))", runs: "a d", loads: 1},
	},
	"outputs are stored one by one": {
		{graph: "a: | outputs=2\nb: a#1", target: "b", value: "b(a()#1)", runs: "a b"},
		{graph: "a: | outputs=2\nb: a#1", target: "a#0", value: "a()", loads: 1},
		{graph: "a: | outputs=2", target: "a#2", err: "output 2 was asked for, the op made 2", runs: "a"},
	},
	"scratch is a result too": {
		{graph: "s: | scratch\na: s", target: "a", value: "a()", runs: "a s"},
		{graph: "s: | scratch", target: "s", value: "", loads: 1},
		{graph: "s: | scratch\nb: s~", target: "b", value: "b()", runs: "b", loads: 1},
	},
	"two vertices that turn out the same run once": {
		{graph: "x1: | volatile yield=same\nx2: | volatile yield=same\nc1: x1~ | key=copy\nc2: x2~ | key=copy\ntop: c1 c2",
			target: "top", value: "top(copy(same),copy(same))", runs: "c? top x1 x2", loads: -1},
	},
	"a failure names its vertex": {
		{graph: "a:\nb: a | fail\nc: b", target: "c", err: "b failed", runs: "a b"},
		{graph: "a:\nb: a\nc: b", target: "c", value: "c(b(a()))", runs: "b c", loads: 1},
	},
	"keys can fail": {
		{graph: "a: | failkeys\nb: a", target: "b", err: "a has no keys"},
	},
	"a panic is a failure": {
		{graph: "a: | panic\nb: a", target: "b", err: "internal error: panic: a panics", runs: "a"},
	},
}

func TestScenarios(t *testing.T) {
	for name, steps := range scenarios {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			w := newWorld()
			s := New(Config{Cache: w})
			for i, st := range steps {
				runStep(t, w, s, i, st)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if l := w.leaked(); l != nil {
				t.Errorf("leaked: %q", l)
			}
		})
	}
}

func runStep(t *testing.T, w *world, s *Solver, i int, st step) {
	t.Helper()
	before, loads := maps.Clone(w.runs), w.loads
	w.lose = func(id string) bool { return st.lose == "*" || w.values[id] != nil && w.values[id].text == st.lose }
	vs := w.parse(st.graph)
	j, err := s.NewJob(fmt.Sprint("job", i), JobConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		j.Close(t.Context())
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}()
	name, num, _ := strings.Cut(st.target, "#")
	index := 0
	if num != "" {
		_, _ = fmt.Sscan(num, &index)
	}
	built, err := j.Build(t.Context(), solver.Edge{Vertex: vs[name], Index: index})
	if st.err != "" {
		var ve *solver.VertexError
		if err == nil || err.Error() != st.err || !errors.As(err, &ve) {
			t.Fatalf("step %d: got error %v, want vertex error %q", i, err, st.err)
		}
	} else {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if got := textOf(built.Result); got != st.value {
			t.Errorf("step %d: got %q, want %q", i, got, st.value)
		}
		if built.Cached != (st.runs == "" || !strings.Contains(st.runs, name)) {
			t.Errorf("step %d: cached is %v", i, built.Cached)
		}
		if built.Result != nil {
			_ = built.Result.Release(t.Context())
		}
	}
	if got := ranSince(w, before); !matchRuns(got, strings.Fields(st.runs)) {
		t.Errorf("step %d: ran %q, want %q", i, got, st.runs)
	}
	if got := w.loads - loads; got != st.loads && st.loads >= 0 {
		t.Errorf("step %d: %d results loaded, want %d", i, got, st.loads)
	}
}

func ranSince(w *world, before map[string]int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ran []string
	for name, n := range w.runs {
		for range n - before[name] {
			ran = append(ran, name)
		}
	}
	slices.Sort(ran)
	return ran
}

// matchRuns compares names, where a question mark stands for any byte.
func matchRuns(got, want []string) bool {
	return slices.EqualFunc(got, want, func(g, w string) bool {
		if prefix, ok := strings.CutSuffix(w, "?"); ok {
			return strings.HasPrefix(g, prefix) && len(g) == len(w)
		}
		return g == w
	})
}
