package diff

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
const keyType = "buildkit.diff.v0"

// Op is a diff op.
type Op struct {
	refs *ref.Store
	op   *pb.DiffOp
	// inputs is how many the vertex has; lower and upper are -1 for scratch.
	inputs       int
	lower, upper int64
	name         string
}

// New returns the op of a vertex with the given number of inputs.
func New(refs *ref.Store, op *pb.DiffOp, inputs int, name string) (*Op, error) {
	o := &Op{refs: refs, op: op, inputs: inputs, name: name, lower: op.GetLower().GetInput(), upper: op.GetUpper().GetInput()}
	for side, in := range map[string]int64{"lower": o.lower, "upper": o.upper} {
		if in < -1 || in >= int64(inputs) {
			return nil, fmt.Errorf("diff op: input of %s is %d of %d: %w", side, in, inputs, errdefs.ErrInvalidArgument)
		}
	}
	return o, nil
}

// Keys returns the identity of which input is which.
func (o *Op) Keys(context.Context, solver.Env) (solver.KeySpec, error) {
	data, err := json.Marshal(struct {
		Type string
		Diff *pb.DiffOp
	}{keyType, o.op})
	if err != nil {
		return solver.KeySpec{}, err
	}
	return solver.KeySpec{Digest: digest.FromBytes(data), Inputs: make([]solver.InputKey, o.inputs)}, nil
}

// Run takes the difference.
func (o *Op) Run(ctx context.Context, _ solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	side := func(i int64) (*ref.Ref, error) {
		if i < 0 {
			return nil, nil
		}
		return ref.From(inputs[i])
	}
	lower, err := side(o.lower)
	if err != nil {
		return nil, err
	}
	upper, err := side(o.upper)
	if err != nil {
		return nil, err
	}
	if lower == nil && upper != nil {
		return []solver.Result{upper.Clone()}, nil
	}
	out, err := o.refs.Diff(ctx, lower, upper, ref.WithDescription(o.name))
	if err != nil {
		return nil, fmt.Errorf("compare file systems: %w", err)
	}
	if out == nil {
		return []solver.Result{nil}, nil
	}
	return []solver.Result{out}, nil
}
