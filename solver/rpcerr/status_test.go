package rpcerr_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

func TestDetailsSurviveTheWire(t *testing.T) {
	definition, err := proto.Marshal(&pb.Definition{Def: [][]byte{[]byte("op")}})
	if err != nil {
		t.Fatal(err)
	}
	info := &solver.SourceInfo{Filename: "Dockerfile", Language: "Dockerfile", Data: []byte("FROM x\n"), Definition: definition}
	at := []solver.Range{{Start: solver.Position{Line: 3}, End: solver.Position{Line: 4, Character: 2}}}
	in := fmt.Errorf("failed to solve: %w", &solver.SourceError{Info: info, Ranges: at,
		Err: &solver.VertexError{Digest: "sha256:abc", Err: &solver.ExitError{Code: 7, Err: errors.New("exit code: 7")}}})
	out := rpcerr.FromGRPC(rpcerr.ToGRPC(in))
	if out.Error() != in.Error() {
		t.Errorf("text %q, want %q", out, in)
	}
	var src *solver.SourceError
	var vtx *solver.VertexError
	var exit *solver.ExitError
	if !errors.As(out, &src) || !errors.As(out, &vtx) || !errors.As(out, &exit) {
		t.Fatalf("details are lost: %#v", out)
	}
	if !bytes.Equal(src.Info.Definition, definition) {
		t.Errorf("graph of the source: %q", src.Info.Definition)
	}
	if src.Info.Filename != "Dockerfile" || len(src.Ranges) != 1 || src.Ranges[0] != at[0] {
		t.Errorf("source %+v %+v", src.Info, src.Ranges)
	}
	if vtx.Digest != "sha256:abc" || exit.Code != 7 {
		t.Errorf("vertex %s, exit code %d", vtx.Digest, exit.Code)
	}
}

func TestCodes(t *testing.T) {
	tests := []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{errors.New("x"), codes.Unknown},
		{fmt.Errorf("x: %w", context.Canceled), codes.Canceled},
		{fmt.Errorf("x: %w", errdefs.ErrNotFound), codes.NotFound},
		{fmt.Errorf("x: %w", errors.Join(errors.New("y"), errdefs.ErrInvalidArgument)), codes.InvalidArgument},
		{&solver.SubrequestError{Name: "frontend.x"}, codes.Unimplemented},
		{&solver.VertexError{Err: errdefs.ErrNotFound}, codes.Unknown},
		{&solver.FrontendError{Name: "x", Err: errdefs.ErrInvalidArgument}, codes.Unknown},
		{&solver.FrontendError{Name: "x", Err: &solver.SubrequestError{Name: "frontend.x"}}, codes.Unimplemented},
		{&solver.VertexError{Err: context.Canceled}, codes.Canceled},
	}
	for _, tt := range tests {
		if got := rpcerr.Code(tt.err); got != tt.want {
			t.Errorf("code of %v is %v, want %v", tt.err, got, tt.want)
		}
		back := rpcerr.FromGRPC(rpcerr.ToGRPC(tt.err))
		if got := rpcerr.Code(back); got != tt.want {
			t.Errorf("code of %v is %v after the wire, want %v", tt.err, got, tt.want)
		}
	}
	if !errors.Is(rpcerr.FromGRPC(rpcerr.ToGRPC(errdefs.ErrNotFound)), errdefs.ErrNotFound) {
		t.Error("the kind is lost")
	}
}
