package build

import (
	"context"
	"sync"

	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// ahead lets exporters begin with the layers of steps that are done while later
// ones run. It only looks on: what no step needed is not made for its sake.
//
// Steps are told by ran, which may be called before anybody knows what the
// result is; expect names those whose file systems it is based on. One
// goroutine works, so that the build keeps most of the machine.
type ahead struct {
	outputs []export.Early
	env     solver.Env

	mu sync.Mutex
	// wanted has the output that counts of each step on the way to the result.
	wanted map[digest.Digest]int
	// queue has refs that are held; wake tells of them.
	queue  []*ref.Ref
	closed bool
	wake   chan struct{}
	done   chan struct{}
	cancel context.CancelFunc
}

// startAhead returns nil if no output can begin early. The caller stops it.
func startAhead(ctx context.Context, outputs []export.Instance, env solver.Env) *ahead {
	a := &ahead{env: env, wanted: map[digest.Digest]int{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	for _, out := range outputs {
		if e, ok := out.(export.Early); ok {
			a.outputs = append(a.outputs, e)
		}
	}
	if len(a.outputs) == 0 {
		return nil
	}
	ctx, a.cancel = context.WithCancel(ctx)
	go a.run(ctx)
	return a
}

// expect says that res is the result.
func (a *ahead) expect(res *frontend.Result) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	add := func(r frontend.Ref) {
		if lazy, ok := r.(*lazyRef); ok {
			for _, e := range spine(lazy.origin.graph.llb.Result()) {
				a.wanted[lazy.origin.graph.names.digest(e.Vertex)] = e.Index
			}
		}
	}
	add(res.Ref)
	for _, r := range res.Refs {
		add(r)
	}
}

// spine follows a result to the file systems that it was written on top of, for
// as long as there is exactly one.
func spine(e llb.Edge) []llb.Edge {
	var out []llb.Edge
	for e.Vertex != nil {
		out = append(out, e)
		in := base(e)
		if in < 0 || in >= len(e.Vertex.Inputs) {
			break
		}
		e = e.Vertex.Inputs[in]
	}
	return out
}

// base returns which input an output is written on top of; -1 for none.
func base(e llb.Edge) int {
	switch op := e.Vertex.Op.GetOp().(type) {
	case *pb.Op_Exec:
		for _, m := range op.Exec.GetMounts() {
			if int(m.GetOutput()) == e.Index {
				return int(m.GetInput())
			}
		}
	case *pb.Op_File:
		actions := op.File.GetActions()
		at := -1
		for i, act := range actions {
			if int(act.GetOutput()) == e.Index {
				at = i
			}
		}
		// Inputs beyond those of the op are actions before; a loop cannot be.
		for at >= 0 && at < len(actions) {
			in := int(actions[at].GetInput())
			if in < len(e.Vertex.Inputs) {
				return in
			}
			if in -= len(e.Vertex.Inputs); in >= at {
				break
			}
			at = in
		}
	}
	return -1
}

// ran tells of a step that just ran, with its results, which it does not keep.
func (a *ahead) ran(step digest.Digest, results []solver.Result) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.wanted[step]
	if !ok || a.closed || i >= len(results) {
		return
	}
	r, err := ref.From(results[i])
	if err != nil || r == nil {
		return
	}
	a.queue = append(a.queue, r.Hold())
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// next takes the newest ref of the queue: it has the layers of the others too.
func (a *ahead) next(ctx context.Context) *ref.Ref {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return nil
	}
	last := len(a.queue) - 1
	for _, r := range a.queue[:last] {
		_ = r.Release(context.WithoutCancel(ctx))
	}
	r := a.queue[last]
	a.queue = nil
	return r
}

// run is the goroutine.
func (a *ahead) run(ctx context.Context) {
	defer close(a.done)
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			return
		}
		r := a.next(ctx)
		if r == nil {
			continue
		}
		for _, out := range a.outputs {
			if err := out.Ahead(ctx, r, a.env); err != nil && ctx.Err() == nil {
				log.G(ctx).WithError(err).Debugf("%s: nothing was prepared", out.Name())
			}
		}
		_ = r.Release(context.WithoutCancel(ctx))
	}
}

// finish takes no more refs: all is built. What is under way goes on, exporters
// will want it.
func (a *ahead) finish() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

// stop ends the goroutine and waits for it.
func (a *ahead) stop(ctx context.Context) {
	if a == nil {
		return
	}
	a.finish()
	a.cancel()
	<-a.done
	if r := a.next(ctx); r != nil {
		_ = r.Release(context.WithoutCancel(ctx))
	}
}

// watched is the op of a step that tells when it ran.
type watched struct {
	solver.Op
	job  *job
	step digest.Digest
}

// watch wraps the ops that write on top of other file systems.
func (j *job) watch(op solver.Op, v *llb.Vertex, names *naming) solver.Op {
	switch v.Op.GetOp().(type) {
	case *pb.Op_Exec, *pb.Op_File:
		return &watched{Op: op, job: j, step: names.digest(v)}
	}
	return op
}

// Run implements solver.Op.
func (w *watched) Run(ctx context.Context, env solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	results, err := w.Op.Run(ctx, env, inputs)
	if err == nil {
		w.job.ahead.ran(w.step, results)
	}
	return results, err
}

// Join implements solver.Joiner for ops that do.
func (w *watched) Join(other solver.Op) {
	if o, ok := other.(*watched); ok {
		other = o.Op
	}
	if j, ok := w.Op.(solver.Joiner); ok {
		j.Join(other)
	}
}
