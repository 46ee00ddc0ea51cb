package graph

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// drawer keeps what failed steps leave.
type drawer struct {
	mu   sync.Mutex
	kept map[digest.Digest]*solver.Failure
}

func (d *drawer) keep(vertex digest.Digest, f *solver.Failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil {
		d.kept = map[digest.Digest]*solver.Failure{}
	}
	d.kept[vertex] = f
}

func (d *drawer) empty(t *testing.T) {
	for _, f := range d.kept {
		if err := f.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestFailuresAreKept gives what a failed op left to the jobs that want it, and
// to no other.
func TestFailuresAreKept(t *testing.T) {
	b := newBench(t)
	vs := b.world.parse("a:\nb: a")
	collected := 0
	wanted := 3
	vs["b"].Op.(*op).runErr = func(ctx context.Context, env solver.Env) error {
		for len(env.(*runEnv).run.jobs()) < wanted {
			runtime.Gosched()
		}
		solver.KeepFailure(ctx, env, func(context.Context) *solver.Failure {
			collected++
			return &solver.Failure{Mounts: []solver.Result{b.world.made("half", 0, nil), nil}, Action: -1, Content: -1}
		})
		return errors.New("failure")
	}
	var first, second drawer
	j1, j2, j3 := b.job(), b.job(), b.job()
	j1.KeepFailures(first.keep)
	j2.KeepFailures(second.keep)
	answers := []<-chan string{b.start(t.Context(), j1, vs["b"]), b.start(t.Context(), j2, vs["b"]), b.start(t.Context(), j3, vs["b"])}
	for _, a := range answers {
		b.want(a, "error: failure")
	}
	for _, d := range []*drawer{&first, &second} {
		f := d.kept[vs["b"].Digest]
		if len(d.kept) != 1 || f == nil || textOf(f.Mounts[0]) != "half" || f.Mounts[1] != nil {
			t.Errorf("%+v", d.kept)
		}
		d.empty(t)
	}
	for _, j := range []*Job{j1, j2, j3} {
		j.Close(t.Context())
	}
	// Nobody wants it: nothing is even collected.
	wanted = 1
	b.want(b.start(t.Context(), b.job(), vs["b"]), "error: failure")
	if collected != 1 {
		t.Errorf("collected %d times", collected)
	}
	b.end()
}

// TestContentFailuresAreKept gives out the input that could not be looked into.
func TestContentFailuresAreKept(t *testing.T) {
	b := newBench(t)
	vs := b.world.parse("a:\nb: a~")
	bad := &brokenContent{op: vs["b"].Op.(*op)}
	vs["b"].Op = bad
	var d drawer
	r := &record{names: map[string]string{}}
	j, err := b.solver.NewJob("j", JobConfig{Sink: r.sink})
	if err != nil {
		t.Fatal(err)
	}
	j.KeepFailures(d.keep)
	b.want(b.start(t.Context(), j, vs["b"]), "error: failed to compute cache key: not there")
	// The step that cannot begin is shown with the reason.
	if lines := r.text(); !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "b ") && strings.HasSuffix(l, " not there") }) {
		t.Errorf("events %q", lines)
	}
	f := d.kept[vs["b"].Digest]
	if f == nil || f.Content != 0 || f.Action != -1 || len(f.Inputs) != 1 || textOf(f.Inputs[0]) != "a()" {
		t.Errorf("%+v", f)
	}
	d.empty(t)
	b.end()
}

// brokenContent is an op that cannot tell what it sees.
type brokenContent struct{ *op }

// Keys replaces the content function.
func (o *brokenContent) Keys(ctx context.Context, env solver.Env) (solver.KeySpec, error) {
	spec, err := o.op.Keys(ctx, env)
	for i := range spec.Inputs {
		spec.Inputs[i].Content = func(context.Context, solver.Env, solver.Result) (digest.Digest, error) {
			return "", errors.New("not there")
		}
	}
	return spec, err
}
