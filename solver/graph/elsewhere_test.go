package graph

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// elsewhere is a cache of a job: that of another world.
type elsewhere struct {
	*world
	t *testing.T
	// into is where what is loaded lives on.
	into *world
	// foretold are ops whose results it has.
	foretold []digest.Digest
}

// Save fails the test: what is found is stored in the solver's own cache.
func (e *elsewhere) Save(context.Context, []*solver.Key, solver.Result) (*solver.Record, error) {
	e.t.Error("the cache of a job was written to")
	return nil, nil
}

// Lookup knows nothing of keys that mean nothing elsewhere.
func (e *elsewhere) Lookup(ctx context.Context, key *solver.Key) (*solver.Record, error) {
	if key.Volatile {
		return nil, nil
	}
	return e.world.Lookup(ctx, key)
}

// Load brings a result here.
func (e *elsewhere) Load(ctx context.Context, rec *solver.Record) (solver.Result, error) {
	res, err := e.world.Load(ctx, rec)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Release(ctx) }()
	return e.into.made(textOf(res), 0, nil), nil
}

// Foretells implements Foreteller.
func (e *elsewhere) Foretells(_ context.Context, op digest.Digest) bool {
	return slices.Contains(e.foretold, op)
}

// Recognizes implements Foreteller.
func (e *elsewhere) Recognizes(ctx context.Context, key *solver.Key) bool {
	rec, _ := e.Lookup(ctx, key)
	return rec != nil
}

// buildIn builds a vertex in a job of its own and returns the text.
func buildIn(t *testing.T, s *Solver, id string, v *solver.Vertex, caches ...solver.Cache) string {
	t.Helper()
	j, err := s.NewJob(id, JobConfig{Caches: func() []solver.Cache { return caches }})
	if err != nil {
		t.Fatal(err)
	}
	built, err := j.Build(t.Context(), solver.Edge{Vertex: v})
	if err != nil {
		t.Fatal(err)
	}
	text := textOf(built.Result)
	_ = built.Result.Release(t.Context())
	j.Close(t.Context())
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCachesOfJobs builds on one site and finds the results on another, which
// remembers them.
func TestCachesOfJobs(t *testing.T) {
	const graph = "base:\nctx: | volatile yield=files\nstage: base ctx~\nimg: base stage~"
	there, here := newWorld(), newWorld()
	first := New(Config{Cache: there})
	want := buildIn(t, first, "1", there.parse(graph)["img"])

	second := New(Config{Cache: here, Ahead: true})
	vs := here.parse(graph)
	cache := &elsewhere{world: there, t: t, into: here}
	for _, name := range []string{"stage", "img"} {
		spec, err := vs[name].Op.Keys(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		cache.foretold = append(cache.foretold, spec.Digest)
	}
	if got := buildIn(t, second, "2", vs["img"], cache); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !maps.Equal(here.runs, map[string]int{"ctx": 1}) || there.loads != 1 {
		t.Errorf("ran %v, loaded %d", here.runs, there.loads)
	}
	if got := buildIn(t, second, "3", here.parse(graph)["img"]); got != want || there.loads != 1 || here.loads != 1 {
		t.Errorf("the second time it is %q, after loading %d and %d", got, there.loads, here.loads)
	}
}
