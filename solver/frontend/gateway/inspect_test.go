package gateway

import (
	"errors"
	"slices"
	"testing"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// anyRef is a ref that nobody looks into.
type anyRef struct {
	frontend.Ref
	name string
}

// TestInspectAcrossSessions hands a failed step from a frontend's frontend out
// to the client: ids change, what they stand for stays.
func TestInspectAcrossSessions(t *testing.T) {
	inner, outer := NewSession(Config{}), NewSession(Config{})
	made, input := &anyRef{name: "made"}, &anyRef{name: "input"}
	cause := errors.New("exit code: 1")
	step := &frontend.StepError{
		Op: &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}, Description: map[string]string{"a": "b"},
		Inputs: []frontend.Ref{input, nil}, Mounts: []frontend.Ref{made, nil}, Action: -1, Content: 3, Err: cause,
	}
	var told *solver.InspectError
	if err := inner.outward(step); !errors.As(err, &told) || !errors.Is(err, cause) || len(told.Inputs) != 2 || told.Inputs[1] != "" {
		t.Fatalf("%v: %+v", err, told)
	}
	back := inner.inward(told)
	var again *frontend.StepError
	if !errors.As(back, &again) || !slices.Equal(again.Mounts, step.Mounts) || !slices.Equal(again.Inputs, step.Inputs) ||
		again.Content != 3 || again.Op.GetExec() == nil {
		t.Fatalf("%+v", again)
	}
	var out *solver.InspectError
	if err := outer.outward(back); !errors.As(err, &out) || out.Mounts[0] == told.Mounts[0] {
		t.Fatalf("%+v", out)
	}
	if r, err := outer.get(out.Mounts[0]); err != nil || r != frontend.Ref(made) {
		t.Errorf("%v, %v", r, err)
	}
	// Ids of another conversation mean nothing.
	if err := inner.inward(&solver.InspectError{Mounts: out.Mounts, Err: cause}); errors.As(err, new(*frontend.StepError)) {
		t.Error("a foreign id was taken")
	}
}
