package graph

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// node is a vertex at work: its stages, shared by all jobs attached to it.
// Stages that concern the vertex as a whole are here, those of one output are
// in output.
type node struct {
	solver *Solver
	id     nodeID
	vertex *solver.Vertex
	inputs []*output

	keys *flight[solver.KeySpec]
	// definition and composed are the two ways to name the vertex: by how its
	// inputs are made, and with what they contain where that matters.
	definition *flight[*identity]
	composed   *flight[*identity]
	// named is a third, between the two; its value may be nil.
	named *flight[*identity]
	ready *flight[*readiness]
	made  *flight[*outcome]

	// refs counts attached jobs, runs are the shared runs this node takes part
	// in, departed counts jobs that left; all guarded by solver.mu.
	refs int
	runs []*run

	// hub has what the op said, under no lock of ours.
	hub *progress.Hub

	mu       sync.Mutex
	jobs     []*Job
	unhook   map[*Job]func()
	marks    []mark
	outputs  map[int]*output
	contents map[contentID]digest.Digest
	closed   bool
	// early are interests in inputs that are probably needed; see ahead.go.
	early []interest
}

// contentID says what a remembered content digest is of.
type contentID struct {
	input  int
	result string
}

// newNode makes a node; the nodes of its inputs exist. solver.mu is held.
func newNode(s *Solver, p *planned) *node {
	n := &node{
		solver:   s,
		id:       p.id,
		vertex:   p.vertex,
		hub:      progress.NewHub(),
		unhook:   map[*Job]func(){},
		outputs:  map[int]*output{},
		contents: map[contentID]digest.Digest{},
	}
	for i, id := range p.inputs {
		n.inputs = append(n.inputs, s.nodes[id].output(p.vertex.Inputs[i].Index))
	}
	n.keys = &flight[solver.KeySpec]{owner: &s.flights, compute: n.askKeys}
	n.definition = &flight[*identity]{owner: &s.flights, compute: n.define}
	n.composed = &flight[*identity]{owner: &s.flights, compute: n.compose}
	n.named = &flight[*identity]{owner: &s.flights, compute: n.name}
	n.ready = &flight[*readiness]{owner: &s.flights, compute: n.prepare,
		share: (*readiness).clone, drop: s.dropReadiness}
	n.made = &flight[*outcome]{owner: &s.flights, compute: n.perform,
		share: (*outcome).clone, drop: s.dropOutcome}
	return n
}

// output returns the stages of output number i.
func (n *node) output(i int) *output {
	n.mu.Lock()
	defer n.mu.Unlock()
	o, ok := n.outputs[i]
	if !ok {
		o = newOutput(n, i)
		n.outputs[i] = o
	}
	return o
}

// stage is what all flights of a node can do.
type stage interface {
	reset()
	close(ctx context.Context)
}

func (n *node) stages() []stage {
	stages := []stage{n.keys, n.definition, n.named, n.composed, n.ready, n.made}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.outputs {
		stages = append(stages, o.probe, o.known, o.final, o.value)
	}
	return stages
}

// reset forgets failures, for a job that did not see them.
func (n *node) reset() {
	for _, s := range n.stages() {
		s.reset()
	}
}

// attach adds a job and tells it what happened so far. solver.mu is held.
func (n *node) attach(j *Job) {
	n.mu.Lock()
	n.jobs = append(n.jobs, j)
	for _, m := range n.marks {
		j.mark(n.vertex.Digest, m)
	}
	n.mu.Unlock()
	d := n.vertex.Digest
	unhook := n.hub.Attach(func(ev solver.Event) { j.emit(addressed(ev, d)) })
	n.mu.Lock()
	n.unhook[j] = unhook
	n.mu.Unlock()
}

// detach removes a job. solver.mu is held.
func (n *node) detach(j *Job) {
	n.mu.Lock()
	n.jobs = slices.DeleteFunc(n.jobs, func(x *Job) bool { return x == j })
	unhook := n.unhook[j]
	delete(n.unhook, j)
	n.mu.Unlock()
	unhook()
}

// close gives up everything the node holds.
func (n *node) close(ctx context.Context) {
	n.mu.Lock()
	n.closed = true
	early := n.early
	n.early = nil
	n.mu.Unlock()
	for _, t := range early {
		t.leave(ctx)
	}
	for _, s := range n.stages() {
		s.close(ctx)
	}
}

// interested returns the jobs attached, in the order they came.
func (n *node) interested() []*Job {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.jobs)
}

// mark records a change of the vertex's state and tells all jobs.
func (n *node) mark(m mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Of the intervals of one kind the last is worth telling to late jobs.
	n.marks = append(slices.DeleteFunc(n.marks, func(old mark) bool { return old.keys == m.keys }), m)
	for _, j := range n.jobs {
		j.mark(n.vertex.Digest, m)
	}
}

// askKeys is the stage "keys". An op without inputs is a source, whose answer
// may take a request to a registry: if it says anything meanwhile it is shown
// as working.
func (n *node) askKeys(ctx context.Context) (spec solver.KeySpec, err error) {
	shown := &showing{node: n, keys: true}
	env := &nodeEnv{node: n, asking: originOf(ctx).job}
	if len(n.vertex.Inputs) == 0 {
		env.before = shown.start
	}
	err = insist(ctx, env.asking, n.interested, func() error {
		var err error
		spec, err = call(n.solver, func() (solver.KeySpec, error) { return n.vertex.Op.Keys(ctx, env) })
		return err
	})
	if err == nil {
		err = n.checkSpec(spec)
	}
	if err != nil {
		shown.start()
	}
	shown.end(err)
	return spec, vertexError(n.vertex, err)
}

func (n *node) checkSpec(spec solver.KeySpec) error {
	if len(spec.Inputs) != len(n.vertex.Inputs) {
		return fmt.Errorf("the op described %d inputs for its cache key, the vertex has %d", len(spec.Inputs), len(n.vertex.Inputs))
	}
	if spec.Digest == "" {
		return fmt.Errorf("the op has no digest for its cache key")
	}
	return nil
}

// maxAttempts bounds how often a call is repeated for the sake of other jobs.
const maxAttempts = 3

// insist calls fn, and again if it failed because the job whose sessions it
// used went away while others are still interested: one client's leaving must
// not fail the build of another.
func insist(ctx context.Context, asking *Job, interested func() []*Job, fn func() error) error {
	for attempt := 1; ; attempt++ {
		shared := len(interested()) > 1
		err := fn()
		if err == nil || ctx.Err() != nil || attempt == maxAttempts {
			return err
		}
		left := asking != nil && asking.closed.Load() && len(interested()) > 0
		if !left && !(shared && isCancellation(err)) {
			return err
		}
	}
}

// call turns a panic of an op into an error and reports its stack.
func call[T any](s *Solver, fn func() (T, error)) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			failure := newPanicError(p)
			err = failure
			s.fault(fmt.Errorf("%w\n%s", err, failure.Stack))
		}
	}()
	return fn()
}
