package passthrough

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// keyType names the op in its key, as caches of other builders do.
const keyType = "buildkit.passthrough.v0"

// Op is a passthrough op.
type Op struct {
	op     *pb.PassthroughOp
	inputs int
}

// New returns the op of a vertex with the given number of inputs. The error is
// errdefs InvalidArgument.
func New(op *pb.PassthroughOp, inputs int) (*Op, error) {
	if op.GetId() == "" || len(op.GetOutputs()) == 0 {
		return nil, fmt.Errorf("passthrough op: it needs an id and outputs: %w", errdefs.ErrInvalidArgument)
	}
	for i, in := range op.GetOutputs() {
		if in < 0 || in >= int64(inputs) {
			return nil, fmt.Errorf("passthrough op: output %d is input %d of %d: %w", i, in, inputs, errdefs.ErrInvalidArgument)
		}
	}
	return &Op{op: op, inputs: inputs}, nil
}

// Keys returns the identity of the choice of outputs.
func (o *Op) Keys(context.Context, solver.Env) (solver.KeySpec, error) {
	data, err := json.Marshal(struct {
		Type        string
		Passthrough *pb.PassthroughOp
	}{keyType, o.op})
	if err != nil {
		return solver.KeySpec{}, err
	}
	return solver.KeySpec{Digest: digest.FromBytes(data), Inputs: make([]solver.InputKey, o.inputs)}, nil
}

// Run returns new holds on the chosen inputs; an empty file system stays nil.
func (o *Op) Run(_ context.Context, _ solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	out := make([]solver.Result, len(o.op.GetOutputs()))
	for i, in := range o.op.GetOutputs() {
		if inputs[in] != nil {
			out[i] = inputs[in].Clone()
		}
	}
	return out, nil
}
