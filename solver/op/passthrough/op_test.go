package passthrough

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// value is a result that counts its holds.
type value struct {
	id    string
	holds *int
}

func (v value) ID() string                    { return v.id }
func (v value) Clone() solver.Result          { *v.holds++; return v }
func (v value) Release(context.Context) error { *v.holds--; return nil }

func TestRun(t *testing.T) {
	op, err := New(&pb.PassthroughOp{Id: "gate", Outputs: []int64{2, 0, 2, 1}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	holds := 0
	out, err := op.Run(t.Context(), nil, []solver.Result{value{"a", &holds}, nil, value{"c", &holds}})
	if err != nil {
		t.Fatal(err)
	}
	if out[0].ID() != "c" || out[1].ID() != "a" || out[2].ID() != "c" || out[3] != nil || holds != 3 {
		t.Errorf("outputs %v, %d holds", out, holds)
	}
}

func TestKeys(t *testing.T) {
	key := func(op *pb.PassthroughOp) solver.KeySpec {
		o, err := New(op, 2)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := o.Keys(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	a, b := key(&pb.PassthroughOp{Id: "x", Outputs: []int64{0}}), key(&pb.PassthroughOp{Id: "x", Outputs: []int64{1}})
	if a.Digest == b.Digest || len(a.Inputs) != 2 {
		t.Errorf("keys %v and %v", a, b)
	}
}

func TestInvalid(t *testing.T) {
	for _, op := range []*pb.PassthroughOp{
		nil, {Outputs: []int64{0}}, {Id: "x"}, {Id: "x", Outputs: []int64{1}}, {Id: "x", Outputs: []int64{-1}},
	} {
		if _, err := New(op, 1); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: error %v", op, err)
		}
	}
}
