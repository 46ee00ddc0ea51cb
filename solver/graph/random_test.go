package graph

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

var (
	graphs = flag.Int("graphs", 300, "number of random graphs of TestRandom")
	seed   = flag.Uint64("seed", 1, "first seed of TestRandom")
)

// patience is how long a random graph may take before the watchdog barks. All
// its pauses together are a fraction of a second.
const patience = 60 * time.Second

// TestRandom builds random graphs in concurrent jobs that fail, are cancelled,
// share work and lose cache records, and compares every answer with that of a
// naive evaluator. "go test -graphs=100000" takes its time.
func TestRandom(t *testing.T) {
	before := runtime.NumGoroutine()
	var running sync.WaitGroup
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	for i := range *graphs {
		slots <- struct{}{}
		if t.Failed() {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			newTrial(t, *seed+uint64(i)).run()
		})
	}
	running.Wait()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// trial is one random graph and what is done with it.
type trial struct {
	t      *testing.T
	seed   uint64
	dice   *dice
	world  *world
	solver *Solver
	// calm trials have no failures, cancellations or losses: each work must
	// run at most once.
	calm bool
	// specs has one entry for each vertex, in order.
	specs []spec
	runs  sync.Map // work -> *counter
}

// spec is a vertex before it is made for one job.
type spec struct {
	key      string
	inputs   []solver.Edge // Vertex is nil
	from     []int
	by       []bool
	content  bool
	volatile bool
	yield    bool
	outputs  int
	fails    bool
	scratch  bool
}

func newTrial(t *testing.T, seed uint64) *trial {
	tr := &trial{t: t, seed: seed, dice: newDice(seed), world: newWorld()}
	tr.solver = New(Config{Cache: tr.world, Ahead: tr.dice.n(2) == 0})
	tr.calm = tr.dice.n(4) == 0
	if !tr.calm {
		tr.world.lose = func(string) bool { return tr.dice.n(10) == 0 }
		tr.world.brokenLookup = func() bool { return tr.dice.n(20) == 0 }
	}
	for i := range 2 + tr.dice.n(14) {
		tr.specs = append(tr.specs, tr.randomSpec(i))
	}
	return tr
}

func (tr *trial) chance(percent int) bool { return tr.dice.n(100) < percent }

func (tr *trial) randomSpec(i int) spec {
	sp := spec{
		key:     fmt.Sprint("op", tr.dice.n(i+2)),
		outputs: 1 + tr.dice.n(2),
		yield:   tr.chance(20),
		scratch: tr.chance(5),
		fails:   !tr.calm && tr.chance(4),
	}
	for range min(i, tr.dice.n(4)) {
		from := tr.dice.n(i)
		if tr.chance(50) {
			from = i - 1
		}
		sp.from = append(sp.from, from)
		sp.inputs = append(sp.inputs, solver.Edge{Index: tr.dice.n(tr.specs[from].outputs)})
		sp.by = append(sp.by, tr.chance(40))
	}
	if len(sp.from) == 0 {
		sp.volatile = tr.chance(30)
		sp.content = !sp.fails && !sp.yield && !sp.scratch && tr.chance(30)
	}
	// What an op is decides its key: equal keys are equal ops.
	sp.key += fmt.Sprint(sp.by, sp.outputs, sp.yield, sp.content, sp.fails, sp.volatile, sp.scratch)
	return sp
}

// vertexInfo is what the naive evaluator knows of a vertex of one job.
type vertexInfo struct {
	vertex *solver.Vertex
	spec   spec
	ignore bool
	// texts are the right answers.
	texts []string
	// work names the work by its contents; tainted says that the cache must
	// not answer for it; mayFail and mustFail speak of the closure.
	work              string
	tainted           bool
	mayFail, mustFail bool
}

// build makes one job's graph: sources vary, and so does what is ignored.
func (tr *trial) build(variant int, ignoring bool) []*vertexInfo {
	infos := make([]*vertexInfo, len(tr.specs))
	for i, sp := range tr.specs {
		if len(sp.from) == 0 {
			sp.key += fmt.Sprint(" v", variant%2)
		}
		vi := &vertexInfo{spec: sp, ignore: ignoring && tr.chance(20)}
		o := &op{world: tr.world, name: sp.key, key: sp.key, volatile: sp.volatile, byContent: sp.by,
			projection: firstByte, outputs: sp.outputs, scratch: sp.scratch}
		if sp.content {
			o.content = fmt.Sprint("layers", variant%3, "of", sp.outputs)
			o.key += o.content
		}
		if sp.yield {
			o.yield = "yield of " + strings.Fields(sp.key)[0]
		}
		v := &solver.Vertex{Name: fmt.Sprint("v", i), Op: o, Options: solver.VertexOptions{IgnoreCache: vi.ignore}}
		id := fmt.Sprint(o.key, sp.by)
		texts := make([]string, len(sp.from))
		vi.work = o.key
		if sp.content {
			vi.work = o.content
		}
		vi.tainted = vi.ignore
		vi.mayFail, vi.mustFail = sp.fails, sp.fails
		for k, from := range sp.from {
			in := infos[from]
			v.Inputs = append(v.Inputs, solver.Edge{Vertex: in.vertex, Index: sp.inputs[k].Index})
			id += fmt.Sprint("|", in.vertex.Digest, sp.inputs[k].Index)
			texts[k] = in.texts[sp.inputs[k].Index]
			if sp.by[k] {
				vi.work += "|" + firstByte(texts[k])
			} else {
				vi.work += fmt.Sprint("|", digest.FromString(in.work), sp.inputs[k].Index)
				vi.tainted = vi.tainted || in.tainted
			}
			vi.mayFail = vi.mayFail || in.mayFail
			vi.mustFail = vi.mustFail || in.mustFail
		}
		v.Digest = digest.FromString(id)
		for n := range sp.outputs {
			vi.texts = append(vi.texts, o.text(texts, n))
		}
		vi.vertex = v
		o.keysErr = func(ctx context.Context, env solver.Env) error { return tr.behave(ctx, env, "", false) }
		o.runErr = func(ctx context.Context, env solver.Env) error { return tr.behave(ctx, env, vi.work, sp.fails) }
		infos[i] = vi
	}
	return infos
}

type counter struct {
	mu    sync.Mutex
	total int
}

// behave is what all ops do: talk, take some time, count, perhaps fail.
func (tr *trial) behave(ctx context.Context, env solver.Env, work string, fails bool) error {
	env.Emit(solver.Event{Status: &solver.StatusEvent{ID: "x"}})
	_ = env.Sessions()
	if work != "" {
		c, _ := tr.runs.LoadOrStore(work, &counter{})
		c.(*counter).mu.Lock()
		c.(*counter).total++
		c.(*counter).mu.Unlock()
	}
	if err := pause(ctx, tr.dice.float); err != nil && tr.chance(80) {
		return err
	}
	if fails {
		return errFlaw
	}
	return nil
}

var errFlaw = errors.New("flaw")

// run does two rounds of concurrent jobs; the second finds a cache and ignores
// parts of it.
func (tr *trial) run() {
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	for round := range 2 {
		tr.round(ctx, round, tr.world.clock())
		if err := tr.solver.Wait(ctx); err != nil {
			tr.bark("computations go on after all jobs are closed: %v", err)
			return
		}
		if l := tr.world.leaked(); l != nil {
			tr.bark("round %d leaked holds: %q", round, l)
		}
		if n, r := len(tr.solver.nodes), len(tr.solver.runs); n+r != 0 {
			tr.bark("round %d left %d nodes and %d runs", round, n, r)
		}
	}
}

func (tr *trial) bark(format string, args ...any) {
	tr.t.Errorf("seed %d: %s", tr.seed, fmt.Sprintf(format, args...))
}

func (tr *trial) round(ctx context.Context, round, epoch int) {
	var jobs sync.WaitGroup
	var open []*Job
	var mu sync.Mutex
	for i := range 1 + tr.dice.n(4) {
		jobs.Go(func() {
			if tr.chance(50) {
				_ = pause(ctx, tr.dice.float)
			}
			j, err := tr.solver.NewJob(fmt.Sprint(round, "-", i), JobConfig{
				Sessions: func() []string { return []string{fmt.Sprint("s", i)} },
			})
			if err != nil {
				tr.bark("new job: %v", err)
				return
			}
			infos := tr.build(tr.dice.n(6), round == 1 && tr.chance(60))
			for range 1 + tr.dice.n(3) {
				tr.one(ctx, j, infos, epoch)
			}
			if !tr.calm && tr.chance(50) {
				j.Close(ctx)
				return
			}
			mu.Lock()
			open = append(open, j)
			mu.Unlock()
		})
	}
	jobs.Wait()
	if tr.calm && round == 0 {
		tr.runs.Range(func(work, c any) bool {
			if n := c.(*counter).total; n > 1 {
				tr.bark("work %v ran %d times", work, n)
			}
			return true
		})
	}
	for _, j := range open {
		j.Close(ctx)
	}
}

// one builds one edge and judges the answer.
func (tr *trial) one(ctx context.Context, j *Job, infos []*vertexInfo, epoch int) {
	vi := infos[tr.dice.n(len(infos))]
	if tr.chance(60) {
		vi = infos[len(infos)-1]
	}
	edge := solver.Edge{Vertex: vi.vertex, Index: tr.dice.n(vi.spec.outputs)}
	bctx, cancel := context.WithCancel(ctx)
	defer cancel()
	impatient := !tr.calm && tr.chance(25)
	if impatient {
		wait := time.Duration(tr.dice.float() * float64(2*time.Millisecond))
		closing := tr.chance(30)
		done, over := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			select {
			case <-done:
			case <-time.After(wait):
				if closing {
					j.Close(ctx)
				}
				cancel()
			}
		}()
		defer func() {
			close(done)
			<-over
		}()
	}
	built, err := j.Build(bctx, edge)
	switch {
	case ctx.Err() != nil:
		var plan strings.Builder
		_ = j.Dump(&plan)
		tr.bark("watchdog: a build hangs: %s", plan.String())
	case err != nil:
		tr.judgeError(vi, err, impatient || j.closed.Load())
	default:
		tr.judge(infos, vi, edge, built, epoch)
	}
}

func (tr *trial) judgeError(vi *vertexInfo, err error, impatient bool) {
	if isCancellation(err) {
		if !impatient {
			tr.bark("%s: canceled, though nobody canceled: %v", vi.vertex.Name, err)
		}
		return
	}
	var ve *solver.VertexError
	if !errors.As(err, &ve) || !errors.Is(err, errFlaw) || !vi.mayFail {
		tr.bark("%s: unexpected error %v", vi.vertex.Name, err)
	}
}

func (tr *trial) judge(infos []*vertexInfo, vi *vertexInfo, edge solver.Edge, built *Built, epoch int) {
	if vi.mustFail {
		tr.bark("%s: built, but an op under it always fails", vi.vertex.Name)
	}
	if got, want := textOf(built.Result), vi.texts[edge.Index]; got != want {
		tr.bark("%s: got %q, want %q", vi.vertex.Name, got, want)
	}
	if built.Result == nil {
		return
	}
	tr.judgeFresh(infos, vi, built.Result.(*result).value, epoch)
	_ = built.Result.Release(tr.t.Context())
}

// judgeFresh checks that what was to be run again was, and what is built on it.
func (tr *trial) judgeFresh(infos []*vertexInfo, vi *vertexInfo, v *value, epoch int) {
	if !vi.tainted || v == nil {
		return
	}
	if v.born < epoch {
		tr.bark("%s: stale, made at %d and the round began at %d", vi.vertex.Name, v.born, epoch)
	}
	for k, from := range vi.spec.from {
		if !vi.spec.by[k] {
			tr.judgeFresh(infos, infos[from], v.inputs[k], epoch)
		}
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	if v := os.Getenv("KILN_TEST_GRAPHS"); v != "" {
		if _, err := fmt.Sscan(v, graphs); err != nil {
			fmt.Fprintln(os.Stderr, "KILN_TEST_GRAPHS:", err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}
