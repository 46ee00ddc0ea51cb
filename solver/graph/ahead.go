package graph

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// lookAhead starts inputs that have no record while the others are still being
// looked into, for as long as the stage "composed", whose ctx this is, waits
// for them. An input alone is not worth it: whether it is needed is known as
// soon as its key is.
func (n *node) lookAhead(ctx context.Context, spec solver.KeySpec) {
	if !n.solver.ahead || len(n.inputs) < 2 {
		return
	}
	for i, in := range n.inputs {
		if spec.Inputs[i].Content == nil {
			n.solver.flights.start(func() { n.start(ctx, spec.Digest, in) })
		}
	}
}

// start asks for an input's value if no record of it can be found, nor of what
// this node itself would make.
func (n *node) start(ctx context.Context, op digest.Digest, in *output) {
	if n.foretold(ctx, op) {
		return
	}
	fk, err := wait(ctx, in.final)
	if err != nil {
		return
	}
	if fk.fresh == "" {
		rec, err := in.find(ctx, fk.key)
		if err != nil || rec != nil {
			return
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || ctx.Err() != nil {
		return
	}
	t := in.value.ticket()
	t.join(ctx, 0, make(chan int, 1))
	n.early = append(n.early, t)
}
