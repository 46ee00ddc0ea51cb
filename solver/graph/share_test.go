package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kilnbuild/kiln/solver"
)

// bench is a solver with its world, and a way to open jobs.
type bench struct {
	*testing.T
	world  *world
	solver *Solver
	jobs   int
}

func newBench(t *testing.T) *bench {
	w := newWorld()
	b := &bench{T: t, world: w, solver: New(Config{Cache: w})}
	return b
}

// end closes the solver and counts what is left.
func (b *bench) end() {
	b.Helper()
	if err := b.solver.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	if l := b.world.leaked(); l != nil {
		b.Errorf("leaked: %q", l)
	}
}

func (b *bench) job(sessions ...string) *Job {
	b.Helper()
	b.jobs++
	j, err := b.solver.NewJob(fmt.Sprint("j", b.jobs), JobConfig{Sessions: func() []string { return sessions }})
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// start builds a vertex in the background; the answer is the text or error.
func (b *bench) start(ctx context.Context, j *Job, v *solver.Vertex) <-chan string {
	answer := make(chan string, 1)
	go func() {
		built, err := j.Build(ctx, solver.Edge{Vertex: v})
		if err != nil {
			answer <- "error: " + err.Error()
			return
		}
		text := textOf(built.Result)
		// Whoever has the answer may look for holds that are left.
		_ = built.Result.Release(context.WithoutCancel(ctx))
		answer <- text
	}()
	return answer
}

func (b *bench) want(answer <-chan string, want string) {
	b.Helper()
	if got := <-answer; got != want {
		b.Errorf("got %q, want %q", got, want)
	}
}

// gate makes an op wait until it is opened, and tells how it went.
type gate struct {
	open     chan struct{}
	entered  int
	canceled int
	sessions []string
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) pass(ctx context.Context, env solver.Env) error {
	g.entered++
	g.sessions = env.Sessions()
	select {
	case <-g.open:
		g.sessions = env.Sessions()
		return nil
	case <-ctx.Done():
		g.canceled++
		return context.Cause(ctx)
	}
}

func TestConcurrentJobsShareWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := newBench(t), newGate()
		vs := b.world.parse("a:\nb: a\nc: b")
		vs["b"].Op.(*op).runErr = g.pass
		j1, j2 := b.job("s1", "s0"), b.job("s2", "s0")
		a1 := b.start(t.Context(), j1, vs["b"])
		synctest.Wait()
		a2 := b.start(t.Context(), j2, vs["c"])
		synctest.Wait()
		close(g.open)
		b.want(a1, "b(a())")
		b.want(a2, "c(b(a()))")
		if g.entered != 1 {
			t.Errorf("b ran %d times", g.entered)
		}
		if !slices.Equal(g.sessions, []string{"s1", "s0", "s2"}) {
			t.Errorf("sessions are %q", g.sessions)
		}
		b.end()
	})
}

func TestLastCancellationCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := newBench(t), newGate()
		vs := b.world.parse("a:\nb: a")
		vs["a"].Op.(*op).runErr = g.pass
		ctx1, cancel1 := context.WithCancel(t.Context())
		ctx2, cancel2 := context.WithCancel(t.Context())
		j1, j2 := b.job(), b.job()
		a1, a2 := b.start(ctx1, j1, vs["b"]), b.start(ctx2, j2, vs["a"])
		synctest.Wait()
		cancel1()
		b.want(a1, "error: context canceled")
		synctest.Wait()
		if g.canceled != 0 {
			t.Error("canceled although somebody waits")
		}
		cancel2()
		b.want(a2, "error: context canceled")
		synctest.Wait()
		if g.canceled != 1 || g.entered != 1 {
			t.Errorf("canceled %d of %d", g.canceled, g.entered)
		}
		// Nothing is remembered of it.
		a1 = b.start(t.Context(), j1, vs["b"])
		synctest.Wait()
		close(g.open)
		b.want(a1, "b(a())")
		b.end()
	})
}

// TestComingBackWhileUnwinding joins between a cancellation and its end: the op
// must not run twice at once, and the newcomer must not see the cancellation.
func TestComingBackWhileUnwinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		vs := b.world.parse("a:")
		active, calls := 0, 0
		vs["a"].Op.(*op).runErr = func(ctx context.Context, _ solver.Env) error {
			active++
			defer func() { active-- }()
			if active > 1 {
				t.Error("two at once")
			}
			if calls++; calls > 1 {
				return nil
			}
			<-ctx.Done()
			time.Sleep(time.Minute) // slow to die
			return errors.New("killed")
		}
		ctx, cancel := context.WithCancel(t.Context())
		j := b.job()
		a1 := b.start(ctx, j, vs["a"])
		synctest.Wait()
		cancel()
		b.want(a1, "error: context canceled")
		b.want(b.start(t.Context(), j, vs["a"]), "a()")
		b.end()
	})
}

func TestClosingEndsBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := newBench(t), newGate()
		vs := b.world.parse("a:\nb: a")
		vs["a"].Op.(*op).runErr = g.pass
		j := b.job()
		a := b.start(t.Context(), j, vs["b"])
		synctest.Wait()
		j.Close(t.Context())
		j.Close(t.Context())
		b.want(a, "error: "+ErrJobClosed.Error())
		if _, err := j.Build(t.Context(), solver.Edge{Vertex: vs["a"]}); !errors.Is(err, ErrJobClosed) {
			t.Errorf("build after close: %v", err)
		}
		b.end()
	})
}

// TestLostClientDoesNotFailOthers has the op fail because the session of the
// job that asked first is gone.
func TestLostClientDoesNotFailOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		vs := b.world.parse("a:")
		j1, j2 := b.job("s1"), b.job("s2")
		lost := make(chan struct{})
		vs["a"].Op.(*op).runErr = func(_ context.Context, env solver.Env) error {
			if env.Sessions()[0] == "s1" {
				<-lost
				return errors.New("session s1 is gone")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		a1 := b.start(ctx, j1, vs["a"])
		synctest.Wait()
		a2 := b.start(t.Context(), j2, vs["a"])
		synctest.Wait()
		cancel()
		j1.Close(t.Context())
		b.want(a1, "error: context canceled")
		close(lost)
		b.want(a2, "a()")
		b.end()
	})
}

func TestFailuresAreRememberedWithinAJob(t *testing.T) {
	b := newBench(t)
	vs := b.world.parse("a:\nb: a")
	var mu sync.Mutex
	n := 0
	vs["a"].Op.(*op).runErr = func(context.Context, solver.Env) error {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Errorf("failure %d", n)
	}
	j1 := b.job()
	b.want(b.start(t.Context(), j1, vs["b"]), "error: failure 1")
	b.want(b.start(t.Context(), j1, vs["b"]), "error: failure 1")
	b.want(b.start(t.Context(), b.job(), vs["b"]), "error: failure 2")
	b.end()
}

func TestJobIDsAreUnique(t *testing.T) {
	b := newBench(t)
	j := b.job()
	if _, err := b.solver.NewJob("j1", JobConfig{}); !errors.Is(err, ErrJobExists) || err.Error() != "job ID j1 exists" {
		t.Errorf("got %v", err)
	}
	if b.solver.Job("j1") != j || b.solver.Job("j2") != nil {
		t.Error("wrong job")
	}
	j.Close(t.Context())
	if b.solver.Job("j1") != nil {
		t.Error("a closed job is found")
	}
	b.end()
}

func TestBadGraphs(t *testing.T) {
	b := newBench(t)
	vs := b.world.parse("a:\nb: a")
	vs["a"].Inputs = []solver.Edge{{Vertex: vs["b"]}}
	j := b.job()
	if _, err := j.Build(t.Context(), solver.Edge{Vertex: vs["b"]}); !errors.Is(err, ErrCycle) {
		t.Errorf("cycle: %v", err)
	}
	vs["a"].Inputs = []solver.Edge{{}}
	if _, err := j.Build(t.Context(), solver.Edge{Vertex: vs["b"]}); err == nil {
		t.Error("a missing vertex was accepted")
	}
	if _, err := j.Build(t.Context(), solver.Edge{}); err == nil {
		t.Error("an edge without vertex was accepted")
	}
	vs = b.world.parse("a:\nb: a")
	vs["b"].Op.(*op).byContent = nil
	if got := <-b.start(t.Context(), j, vs["b"]); !strings.Contains(got, "described 0 inputs") {
		t.Errorf("got %q", got)
	}
	b.end()
}

// TestDeepChain builds a chain of very many steps, cold, cached and fresh.
func TestDeepChain(t *testing.T) {
	const depth = deep
	chain := func(w *world, ignore bool) *solver.Vertex {
		text := &strings.Builder{}
		fmt.Fprintln(text, "v0: | yield=x")
		for i := range depth {
			fmt.Fprintf(text, "v%d: v%d | yield=x\n", i+1, i)
		}
		vs := w.parse(text.String())
		vs["v1"].Options.IgnoreCache = ignore
		return vs[fmt.Sprint("v", depth)]
	}
	b := newBench(t)
	for i, want := range []int{depth + 1, 0, depth} {
		before := len(ranSince(b.world, nil))
		j := b.job()
		start := time.Now()
		b.want(b.start(t.Context(), j, chain(b.world, i == 2)), "x")
		t.Logf("round %d: %v", i, time.Since(start))
		if got := len(ranSince(b.world, nil)) - before; got != want {
			t.Errorf("round %d ran %d ops, want %d", i, got, want)
		}
		j.Close(t.Context())
		if err := b.solver.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.end()
}

func TestDump(t *testing.T) {
	b := newBench(t)
	vs := b.world.parse("a:\nb: a | fail ignore")
	j := b.job()
	b.want(b.start(t.Context(), j, vs["b"]), "error: b failed")
	var out bytes.Buffer
	if err := j.Dump(&out); err != nil {
		t.Fatal(err)
	}
	var plan []PlanVertex
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan) != 2 || plan[0].Made != "done" || plan[0].Outputs[0].FinalKey == "" ||
		plan[1].Made != "failed" || plan[1].Error != "b failed" || !plan[1].Fresh || len(plan[1].Inputs) != 1 {
		t.Errorf("plan is %s", out.String())
	}
	b.end()
}
