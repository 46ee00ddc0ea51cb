package graph

import (
	"context"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// run is one performance of an op, shared by all nodes that turned out to be
// the same work. It does nothing but call the op: every node comes here with
// its inputs resolved, so that waiting for another node's run cannot close a
// circle.
type run struct {
	solver *Solver
	work   digest.Digest
	// node is the one that came first, whose op is run.
	node   *node
	flight *flight[*outcome]
	hub    *progress.Hub

	// members are the nodes that take part, with the way to unhook their
	// progress; guarded by solver.mu.
	members map[*node]func()

	mu     sync.Mutex
	ready  *readiness
	closed bool
}

// prepare is the stage "ready": all inputs at once.
func (n *node) prepare(ctx context.Context) (*readiness, error) {
	spec, err := wait(ctx, n.keys)
	if err != nil {
		return nil, err
	}
	flights := make([]*flight[*held], len(n.inputs))
	for i, in := range n.inputs {
		flights[i] = in.value
	}
	inputs, err := waitAll(ctx, flights)
	if err != nil {
		return nil, err
	}
	id, err := n.identify(ctx, spec, inputs, nil)
	if err != nil {
		n.solver.dropAll(ctx, inputs)
		return nil, err
	}
	return &readiness{id: id, made: renamed(spec, id, inputs), inputs: inputs}, nil
}

// perform is the stage "made": the vertex is run, by this node or by another
// that does the same work.
func (n *node) perform(ctx context.Context) (*outcome, error) {
	// Known by now, but for a vertex below which something is run afresh.
	if _, err := wait(ctx, n.definition); err != nil {
		return nil, err
	}
	ready, err := wait(ctx, n.ready)
	if err != nil {
		return nil, err
	}
	shown := &showing{node: n}
	shown.start()
	r, err := n.solver.join(ctx, n, ready)
	if err != nil {
		shown.end(err)
		return nil, err
	}
	out, err := wait(ctx, r.flight)
	shown.end(err)
	if err != nil {
		return nil, vertexError(n.vertex, err)
	}
	if r.node != n {
		for i, h := range out.outputs {
			n.alias(ctx, i, h)
		}
	}
	return out, nil
}

// join enters the run for the work of ready, which it takes over, as a member.
func (s *Solver) join(ctx context.Context, n *node, ready *readiness) (*run, error) {
	work := ready.id.work()
	s.mu.Lock()
	if n.refs == 0 {
		s.mu.Unlock()
		s.dropReadiness(ctx, ready)
		return nil, errClosed
	}
	r, ok := s.runs[work]
	if !ok {
		r = &run{solver: s, work: work, node: n, hub: progress.NewHub(), members: map[*node]func(){}, ready: ready}
		r.flight = &flight[*outcome]{owner: &s.flights, compute: r.perform,
			share: (*outcome).clone, drop: s.dropOutcome}
		s.runs[work] = r
	}
	if _, member := r.members[n]; !member {
		r.members[n] = r.hub.Attach(n.hub.Emit)
		n.runs = append(n.runs, r)
	}
	s.mu.Unlock()
	if ok {
		s.dropReadiness(ctx, ready)
	}
	return r, nil
}

// leaveRuns ends a node's membership in runs and returns those that nobody
// takes part in any more. s.mu is held.
func (s *Solver) leaveRuns(n *node) (ended []*run) {
	for _, r := range n.runs {
		r.members[n]()
		delete(r.members, n)
		if len(r.members) == 0 {
			s.forget(r)
			ended = append(ended, r)
		}
	}
	n.runs = nil
	return ended
}

// forget makes later nodes start a run of their own. s.mu is held.
func (s *Solver) forget(r *run) {
	if s.runs[r.work] == r {
		delete(s.runs, r.work)
	}
}

// close gives up what the run holds.
func (r *run) close(ctx context.Context) {
	r.flight.close(ctx)
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.solver.dropReadiness(ctx, r.ready)
}

// borrow returns inputs that stay valid whatever happens to the members.
func (r *run) borrow() (*readiness, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	return r.ready.clone(), nil
}

// perform calls the op and stores what it made.
func (r *run) perform(ctx context.Context) (*outcome, error) {
	ready, err := r.borrow()
	if err != nil {
		return nil, err
	}
	defer r.solver.dropReadiness(context.WithoutCancel(ctx), ready)
	inputs := make([]solver.Result, len(ready.inputs))
	for i, h := range ready.inputs {
		inputs[i] = h.result
	}
	env := &runEnv{run: r, asking: originOf(ctx).job}
	var results []solver.Result
	ctx, end := r.solver.span(ctx, r.node.vertex.Name)
	err = insist(ctx, env.asking, r.jobs, func() error {
		var err error
		results, err = call(r.solver, func() ([]solver.Result, error) { return r.node.vertex.Op.Run(ctx, env, inputs) })
		if err != nil {
			for _, res := range results {
				r.solver.release(ctx, res)
			}
		}
		return err
	})
	end(err)
	if err != nil {
		if ctx.Err() == nil {
			r.solver.mu.Lock()
			r.solver.forget(r)
			r.solver.mu.Unlock()
		}
		return nil, err
	}
	// What was made is kept even if nobody waits for it any more.
	ctx = context.WithoutCancel(ctx)
	out := &outcome{}
	for i, res := range results {
		h := &held{result: res, key: ready.id.key(i), fresh: ready.id.fresh}
		r.node.alias(ctx, i, h, ready.made)
		out.outputs = append(out.outputs, h)
	}
	return out, nil
}

// alias stores a result under its final key and the node's other names, and
// notes the record. A cache that cannot take it does not stop the build.
func (n *node) alias(ctx context.Context, output int, h *held, names ...*identity) {
	keys := []*solver.Key{h.key}
	for _, f := range []*flight[*identity]{n.named, n.definition} {
		if s, id, _ := f.peek(); s == done {
			names = append(names, id)
		}
	}
	for _, id := range names {
		if id == nil {
			continue
		}
		key := id.key(output)
		if !slices.ContainsFunc(keys, func(k *solver.Key) bool { return k.ID() == key.ID() }) {
			keys = append(keys, key)
		}
	}
	rec, err := n.solver.cache.Save(context.WithoutCancel(ctx), keys, h.result)
	if err != nil {
		n.solver.fault(&saveError{vertex: n.vertex.Name, err: err})
		return
	}
	h.record = rec
}

type saveError struct {
	vertex string
	err    error
}

func (e *saveError) Error() string { return "store result of " + e.vertex + ": " + e.err.Error() }
func (e *saveError) Unwrap() error { return e.err }

// jobs returns the jobs that are interested through any member, in order.
func (r *run) jobs() []*Job {
	r.solver.mu.Lock()
	members := make([]*node, 0, len(r.members))
	for n := range r.members {
		members = append(members, n)
	}
	r.solver.mu.Unlock()
	var jobs []*Job
	for _, n := range members {
		for _, j := range n.interested() {
			if !slices.Contains(jobs, j) {
				jobs = append(jobs, j)
			}
		}
	}
	slices.SortFunc(jobs, func(a, b *Job) int { return int(a.number - b.number) })
	return jobs
}
