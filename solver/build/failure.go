package build

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// maxFailures bounds of how many failed steps a build keeps what they left;
// the oldest go first.
const maxFailures = 100

// failures has what failed steps of a build left, while somebody can look into
// it. All holds are given up when the build ends, and those of a step when it
// fails once more.
type failures struct {
	steps map[digest.Digest]*failure
	order []digest.Digest
	over  bool
}

// failure is one of them, with refs for its results, each with one identity.
type failure struct {
	*solver.Failure
	inputs, mounts []frontend.Ref

	mu sync.Mutex
	// gone says that the holds were given up.
	gone bool
}

// release gives the holds up.
func (f *failure) release(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	if err := f.Release(ctx); err != nil {
		log.G(ctx).WithError(err).Warn("release what a failed step left")
	}
}

// inspect makes the build keep what failed steps leave: from here on there is a
// frontend that may ask for it.
func (j *job) inspect(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	j.mu.Lock()
	known := j.inspected
	j.inspected = true
	j.mu.Unlock()
	if known {
		return
	}
	j.graph.KeepFailures(func(vertex digest.Digest, f *solver.Failure) {
		for _, old := range j.keepFailure(vertex, f) {
			old.release(ctx)
		}
	})
}

// keepFailure takes f over and returns what is not kept any more.
func (j *job) keepFailure(vertex digest.Digest, f *solver.Failure) (gone []*failure) {
	kept := &failure{Failure: f}
	kept.inputs, kept.mounts = kept.refs(f.Inputs), kept.refs(f.Mounts)
	j.mu.Lock()
	defer j.mu.Unlock()
	fs := &j.failures
	if fs.over {
		return []*failure{kept}
	}
	if fs.steps == nil {
		fs.steps = map[digest.Digest]*failure{}
	}
	if old := fs.steps[vertex]; old != nil {
		gone = append(gone, old)
	} else {
		fs.order = append(fs.order, vertex)
	}
	fs.steps[vertex] = kept
	if len(fs.order) > maxFailures {
		gone = append(gone, fs.steps[fs.order[0]])
		delete(fs.steps, fs.order[0])
		fs.order = fs.order[1:]
	}
	return gone
}

// dropFailures gives everything up; nothing is kept from here on.
func (j *job) dropFailures(ctx context.Context) {
	j.mu.Lock()
	steps := j.failures.steps
	j.failures = failures{over: true}
	j.mu.Unlock()
	for _, f := range steps {
		f.release(ctx)
	}
}

// inspectable adds to a step's error what is needed to look into it, if the
// build's frontend may do that.
func (j *job) inspectable(g *llb.Graph, err error) error {
	var failed *solver.VertexError
	var known *frontend.StepError
	if !errors.As(err, &failed) || errors.As(err, &known) {
		return err
	}
	v := g.Lookup(failed.Digest)
	if v == nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.inspected {
		return err
	}
	step := &frontend.StepError{Op: v.Op, Description: maps.Clone(v.Metadata.GetDescription()), Action: -1, Content: -1, Err: err}
	if f := j.failures.steps[failed.Digest]; f != nil {
		step.Inputs, step.Mounts, step.Action, step.Content = f.inputs, f.mounts, f.Action, f.Content
	}
	return step
}

// refs makes refs for frontends; the empty file system is nil.
func (f *failure) refs(list []solver.Result) []frontend.Ref {
	out := make([]frontend.Ref, len(list))
	for i, res := range list {
		r, err := ref.From(res)
		if err == nil && r != nil {
			out[i] = &keptRef{of: f, ref: r}
		}
	}
	return out
}
