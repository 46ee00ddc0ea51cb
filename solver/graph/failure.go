package graph

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// KeepFailures makes the job want what is left of steps that fail from now on.
// keep gets holds of its own, with the digest of the vertex as the job knows
// it, before any Build returns the error. It must be quick and must not call
// the job.
func (j *Job) KeepFailures(keep func(vertex digest.Digest, f *solver.Failure)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep = keep
}

// keeper returns where failures go, nil if nobody wants them.
func (j *Job) keeper() func(digest.Digest, *solver.Failure) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.keep
}

// WantsFailure implements solver.FailureKeeper.
func (e *runEnv) WantsFailure() bool {
	for _, j := range e.run.jobs() {
		if j.keeper() != nil {
			return true
		}
	}
	return false
}

// KeepFailure implements solver.FailureKeeper: every interested job gets holds
// of its own, because none knows when another ends.
func (e *runEnv) KeepFailure(ctx context.Context, f *solver.Failure) {
	s := e.run.solver
	s.mu.Lock()
	members := make([]*node, 0, len(e.run.members))
	for n := range e.run.members {
		members = append(members, n)
	}
	s.mu.Unlock()
	for _, n := range members {
		n.keepFailure(f)
	}
	if err := f.Release(ctx); err != nil {
		s.fault(err)
	}
}

// keepFailure gives every job that wants it a copy of f.
func (n *node) keepFailure(f *solver.Failure) {
	for _, j := range n.interested() {
		if keep := j.keeper(); keep != nil {
			keep(n.vertex.Digest, f.Clone())
		}
	}
}
