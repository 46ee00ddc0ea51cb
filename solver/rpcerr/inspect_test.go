package rpcerr_test

import (
	"errors"
	"reflect"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

func TestInspectSurvivesTheWire(t *testing.T) {
	op, err := proto.Marshal(&pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{
		Network: pb.NetMode_NONE, Mounts: []*pb.Mount{{Dest: "/", Output: -1, MountType: pb.MountType_CACHE}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []*solver.InspectError{
		{Op: op, Inputs: []string{"a", ""}, Mounts: []string{"b", "c"}, Action: -1, Content: -1, Description: map[string]string{"k": "v"}},
		{Action: 2, Content: -1},
		{Action: -1, Content: 0, Inputs: []string{"x"}},
	} {
		in.Err = errors.New("it failed")
		var out *solver.InspectError
		if back := rpcerr.FromGRPC(rpcerr.ToGRPC(in)); !errors.As(back, &out) || back.Error() != "it failed" {
			t.Fatalf("%v", back)
		}
		got := *out
		got.Err = in.Err
		if !reflect.DeepEqual(&got, in) {
			t.Errorf("%+v, want %+v", &got, in)
		}
	}
}

func TestForFrontend(t *testing.T) {
	err := &solver.VertexError{Digest: "sha256:abc", Err: errdefs.ErrNotFound}
	back := rpcerr.FromGRPC(rpcerr.ForFrontend(err))
	if !errdefs.IsNotFound(back) || rpcerr.Code(back) != codes.Unknown {
		t.Errorf("%v, code %v", back, rpcerr.Code(back))
	}
	if rpcerr.ForFrontend(nil) != nil {
		t.Error("an error of nothing")
	}
}

// FuzzDetails reads details that a frontend could send, and sends them on.
func FuzzDetails(f *testing.F) {
	for _, name := range []string{"errdefs.Solve", "errdefs.Source", "errdefs.Vertex", "gatewayapi.ExitMessage", "policysession.DecisionResponse"} {
		f.Add(name, []byte(`{"inputIDs":["a"],"op":{"exec":{"mounts":[{"dest":"/"}]}},"file":{"index":"1"},"digest":"x","Code":3}`))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		err := rpcerr.FromStatus(&status.Status{Code: 2, Message: "m", Details: []*anypb.Any{
			{TypeUrl: "github.com/moby/buildkit/" + name + "+json", Value: data},
		}})
		if err == nil || rpcerr.ToGRPC(err) == nil {
			t.Error("the error is lost")
		}
	})
}
