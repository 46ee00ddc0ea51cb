package graph

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// JobConfig is what a build brings along.
type JobConfig struct {
	// Sessions returns the ids of the build's client sessions, most suitable
	// first; asked each time an op wants to know. Nil means none.
	Sessions func() []string
	// Sink receives the build's events, one at a time. It must be quick and
	// must not call the job. Nil drops them. It is not called after Close.
	Sink func(solver.Event)
	// Caches returns further caches, asked in order for what the Solver's own
	// does not have; asked for anew with each lookup. What is found is stored
	// in the Solver's own: Save is not called. Nil means none.
	Caches func() []solver.Cache
}

// Foreteller is implemented by caches of jobs that can tell more than Lookup.
type Foreteller interface {
	// Foretells reports whether the op with that identity had a part in a
	// stored result. Its inputs are then not run ahead.
	Foretells(ctx context.Context, op digest.Digest) bool
	// Recognizes reports whether the value that key names had a part in a
	// stored result, though it may not be stored itself. Dependents are then
	// looked up by that key before the value is made to look into it.
	Recognizes(ctx context.Context, key *solver.Key) bool
}

// Job is one build's interest in any number of edges. It is safe for
// concurrent use.
type Job struct {
	solver *Solver
	id     string
	// number orders jobs by age.
	number   int64
	sessions func() []string
	caches   func() []solver.Cache
	closed   atomic.Bool

	// nodes and gone are guarded by solver.mu.
	nodes map[*node]struct{}
	gone  bool

	mu       sync.Mutex
	sink     func(solver.Event)
	vertices map[digest.Digest]*vertexState
	// builds has the way to end each Build that waits.
	builds map[*planned]context.CancelCauseFunc
	// keep takes what is left of failed steps; nil if nobody wants it.
	keep func(digest.Digest, *solver.Failure)
}

var jobNumbers atomic.Int64

func newJob(s *Solver, id string, cfg JobConfig) *Job {
	j := &Job{
		solver:   s,
		id:       id,
		number:   jobNumbers.Add(1),
		sessions: cfg.Sessions,
		caches:   cfg.Caches,
		sink:     cfg.Sink,
		nodes:    map[*node]struct{}{},
		vertices: map[digest.Digest]*vertexState{},
		builds:   map[*planned]context.CancelCauseFunc{},
	}
	if j.sessions == nil {
		j.sessions = func() []string { return nil }
	}
	if j.caches == nil {
		j.caches = func() []solver.Cache { return nil }
	}
	if j.sink == nil {
		j.sink = func(solver.Event) {}
	}
	return j
}

// ID returns the id the job was opened with.
func (j *Job) ID() string { return j.id }

// Built is the answer to Build.
type Built struct {
	// Result is the caller's own hold; nil for the empty file system.
	Result solver.Result
	// Key is the final key of the edge.
	Key *solver.Key
	// Record is what the cache knows of the result; nil if it could not be
	// stored.
	Record *solver.Record
	// Cached says that nothing had to run for this edge.
	Cached bool
}

// Build returns the value of an edge, found or made. The vertices of the graph
// under it stay attached to the job until Close: what was made for them is not
// made again, and what failed is not tried again, within the job. An op's
// failure is a *solver.VertexError; the end of ctx returns its cause.
//
// Build may be called many times and at the same time.
func (j *Job) Build(ctx context.Context, edge solver.Edge) (*Built, error) {
	if edge.Vertex == nil {
		return nil, fmt.Errorf("build edge %d: it has no vertex", edge.Index)
	}
	plan, err := walk(edge.Vertex)
	if err != nil {
		return nil, fmt.Errorf("build %q: %w", edge.Vertex.Name, err)
	}
	j.announce(plan)
	top, err := j.solver.attach(j, plan)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(withOrigin(ctx, j))
	defer cancel(nil)
	build := &plan[0]
	if !j.begin(build, cancel) {
		return nil, ErrJobClosed
	}
	defer j.end(build)
	h, err := wait(ctx, top.output(edge.Index).value)
	if err != nil {
		return nil, err
	}
	return &Built{Result: h.result, Key: h.key, Record: h.record, Cached: h.cached}, nil
}

// Close ends the job: its Builds return ErrJobClosed, work that no other job
// wants is cancelled, and what the job held is released. It does not wait for
// cancelled ops to return; Solver.Wait does. The sink is not called any more.
// Closing again does nothing.
func (j *Job) Close(ctx context.Context) {
	j.mu.Lock()
	j.closed.Store(true)
	j.sink = func(solver.Event) {}
	for _, cancel := range j.builds {
		cancel(ErrJobClosed)
	}
	j.mu.Unlock()
	j.solver.detach(context.WithoutCancel(ctx), j)
}

// begin registers a Build, unless the job is closed.
func (j *Job) begin(build *planned, cancel context.CancelCauseFunc) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed.Load() {
		return false
	}
	j.builds[build] = cancel
	return true
}

func (j *Job) end(build *planned) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.builds, build)
}

// vertexState is what a job knows of a vertex, as far as displays care.
type vertexState struct {
	vertex *solver.Vertex
	inputs []digest.Digest
	// running and done say that an interval is open, and that one ended.
	running, done bool
}

func (v *vertexState) event() *solver.VertexEvent {
	return &solver.VertexEvent{
		Digest: v.vertex.Digest,
		Name:   v.vertex.Name,
		Inputs: v.inputs,
		Group:  v.vertex.Options.Group,
	}
}

// mark is a change of a vertex's state: an interval that began or ended.
type mark struct {
	started   time.Time
	completed *time.Time
	cached    bool
	err       string
	// keys says that the interval was spent on the cache key only, which
	// leaves the vertex as undone as before.
	keys bool
}

// announce tells of vertices the job has not met yet.
func (j *Job) announce(plan []planned) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range plan {
		d := p.vertex.Digest
		if _, ok := j.vertices[d]; ok {
			continue
		}
		v := &vertexState{vertex: p.vertex}
		for _, in := range p.inputs {
			v.inputs = append(v.inputs, in.vertex)
		}
		j.vertices[d] = v
		j.sink(solver.Event{Vertex: v.event()})
	}
}

// mark tells of a change. When a vertex starts, or is found in the cache, its
// inputs that are not done were evidently not needed: they are shown as cached.
func (j *Job) mark(d digest.Digest, m mark) {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.vertices[d]
	if !m.keys {
		if !v.running {
			j.cover(v, m.started)
		}
		v.running = m.completed == nil
		v.done = v.done || m.completed != nil
	}
	ev := v.event()
	ev.Started = &m.started
	ev.Completed = m.completed
	ev.Cached = m.cached
	ev.Error = m.err
	j.sink(solver.Event{Vertex: ev})
}

// cover shows everything under v as cached that is neither done nor at work.
// j.mu is held.
func (j *Job) cover(v *vertexState, at time.Time) {
	todo := []*vertexState{v}
	for len(todo) > 0 {
		v, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for _, d := range v.inputs {
			in := j.vertices[d]
			if in.done || in.running {
				continue
			}
			in.done = true
			ev := in.event()
			ev.Started, ev.Completed, ev.Cached = &at, &at, true
			j.sink(solver.Event{Vertex: ev})
			todo = append(todo, in)
		}
	}
}

// emit passes on what an op said.
func (j *Job) emit(ev solver.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sink(ev)
}
