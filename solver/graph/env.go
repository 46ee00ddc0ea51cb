package graph

import (
	"context"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// origin is carried by the contexts of computations: which job asked first,
// and the values of its request. Computations take their values from it and
// not from each other, so that contexts do not nest as deep as the graph.
type origin struct {
	job    *Job
	values context.Context
}

type originKey struct{}

// withOrigin returns ctx for the stages that job asks for.
func withOrigin(ctx context.Context, job *Job) context.Context {
	o := &origin{job: job}
	o.values = context.WithValue(context.WithoutCancel(ctx), originKey{}, o)
	return context.WithValue(ctx, originKey{}, o)
}

func originOf(ctx context.Context) *origin {
	if o, ok := ctx.Value(originKey{}).(*origin); ok {
		return o
	}
	return &origin{values: context.WithoutCancel(ctx)}
}

// sessions lists the jobs' sessions without repetition, those of asking first.
func sessions(asking *Job, jobs []*Job) []string {
	var ids []string
	add := func(j *Job) {
		for _, id := range j.sessions() {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if slices.Contains(jobs, asking) {
		add(asking)
	}
	for _, j := range jobs {
		if j != asking {
			add(j)
		}
	}
	return ids
}

// nodeEnv is the Env of a node's own calls: Keys and ContentFunc.
type nodeEnv struct {
	node   *node
	asking *Job
	// before, if set, is called before an event is passed on.
	before func()
}

// Sessions implements solver.Env.
func (e *nodeEnv) Sessions() []string { return sessions(e.asking, e.node.interested()) }

// Emit implements solver.Env.
func (e *nodeEnv) Emit(ev solver.Event) {
	if e.before != nil {
		e.before()
	}
	e.node.hub.Emit(ev)
}

// runEnv is the Env of a run: it speaks for and to all members.
type runEnv struct {
	run    *run
	asking *Job
}

// Sessions implements solver.Env.
func (e *runEnv) Sessions() []string { return sessions(e.asking, e.run.jobs()) }

// Emit implements solver.Env.
func (e *runEnv) Emit(ev solver.Event) { e.run.hub.Emit(ev) }

// addressed fills in the vertex of an event that has none.
func addressed(ev solver.Event, d digest.Digest) solver.Event {
	switch {
	case ev.Vertex != nil && ev.Vertex.Digest == "":
		v := *ev.Vertex
		v.Digest = d
		ev.Vertex = &v
	case ev.Status != nil && ev.Status.Vertex == "":
		v := *ev.Status
		v.Vertex = d
		ev.Status = &v
	case ev.Log != nil && ev.Log.Vertex == "":
		v := *ev.Log
		v.Vertex = d
		ev.Log = &v
	case ev.Warning != nil && ev.Warning.Vertex == "":
		v := *ev.Warning
		v.Vertex = d
		ev.Warning = &v
	case ev.Traffic != nil && ev.Traffic.Vertex == "":
		v := *ev.Traffic
		v.Vertex = d
		ev.Traffic = &v
	case ev.Pin != nil && ev.Pin.Vertex == "":
		v := *ev.Pin
		v.Vertex = d
		ev.Pin = &v
	}
	return ev
}

// showing shows one interval of a vertex's work.
type showing struct {
	node *node
	// keys as in mark.
	keys bool

	mu      sync.Mutex
	current *mark
	over    bool
}

// start shows the vertex as working, once.
func (s *showing) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil && !s.over {
		s.current = &mark{started: s.node.solver.now(), keys: s.keys}
		s.node.mark(*s.current)
	}
}

// end shows that the work ended, if it was shown.
func (s *showing) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.current == nil {
		return
	}
	now := s.node.solver.now()
	m := *s.current
	m.completed = &now
	m.err = errorText(err)
	s.node.mark(m)
}

// errorText is what displays show; they recognise a broken-off vertex by it.
func errorText(err error) string {
	switch {
	case err == nil:
		return ""
	case isCancellation(err):
		return context.Canceled.Error()
	}
	return err.Error()
}
