package merge

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// keyType names the op in its key, as caches of other builders do.
const keyType = "buildkit.merge.v0"

// Op is a merge op.
type Op struct {
	refs   *ref.Store
	op     *pb.MergeOp
	inputs int
	// name describes the result in listings.
	name string
}

// New returns the op of a vertex with the given number of inputs.
func New(refs *ref.Store, op *pb.MergeOp, inputs int, name string) (*Op, error) {
	for i, in := range op.GetInputs() {
		if in.GetInput() < 0 || in.GetInput() >= int64(inputs) {
			return nil, fmt.Errorf("merge op: input %d is %d of %d: %w", i, in.GetInput(), inputs, errdefs.ErrInvalidArgument)
		}
	}
	return &Op{refs: refs, op: op, inputs: inputs, name: name}, nil
}

// Keys returns the identity of the order of inputs.
func (o *Op) Keys(context.Context, solver.Env) (solver.KeySpec, error) {
	data, err := json.Marshal(struct {
		Type  string
		Merge *pb.MergeOp
	}{keyType, o.op})
	if err != nil {
		return solver.KeySpec{}, err
	}
	return solver.KeySpec{Digest: digest.FromBytes(data), Inputs: make([]solver.InputKey, o.inputs)}, nil
}

// Run stacks the inputs, lowest first.
func (o *Op) Run(ctx context.Context, _ solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	var stack []*ref.Ref
	for _, in := range o.op.GetInputs() {
		r, err := ref.From(inputs[in.GetInput()])
		if err != nil {
			return nil, err
		}
		if r != nil {
			stack = append(stack, r)
		}
	}
	switch len(stack) {
	case 0:
		return []solver.Result{nil}, nil
	case 1:
		return []solver.Result{stack[0].Clone()}, nil
	}
	out, err := o.refs.Merge(ctx, stack, ref.WithDescription(o.name))
	if err != nil {
		return nil, fmt.Errorf("merge %d file systems: %w", len(stack), err)
	}
	return []solver.Result{out}, nil
}
