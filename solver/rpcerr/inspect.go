package rpcerr

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/pb/errdefs"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// solveDetail is the one detail that is protobuf's own JSON: it holds a whole
// op.
type solveDetail struct{ err *solver.InspectError }

// MarshalJSON writes the detail.
func (d solveDetail) MarshalJSON() ([]byte, error) {
	e := d.err
	out := &errdefs.Solve{InputIDs: e.Inputs, MountIDs: e.Mounts, Description: e.Description}
	if e.Op != nil {
		out.Op = &pb.Op{}
		if err := proto.Unmarshal(e.Op, out.Op); err != nil {
			out.Op = nil // the rest says enough to start a container
		}
	}
	switch {
	case e.Action >= 0:
		out.Subject = &errdefs.Solve_File{File: &errdefs.FileAction{Index: int64(e.Action)}}
	case e.Content >= 0:
		out.Subject = &errdefs.Solve_Cache{Cache: &errdefs.ContentCache{Index: int64(e.Content)}}
	}
	return protojson.Marshal(out)
}

// wrapSolve decodes the detail.
func wrapSolve(data []byte, err error) error {
	var s errdefs.Solve
	// What a newer peer adds is of no use here.
	if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &s) != nil {
		return err
	}
	e := &solver.InspectError{
		Description: s.GetDescription(), Inputs: s.GetInputIDs(), Mounts: s.GetMountIDs(), Action: -1, Content: -1, Err: err,
	}
	if s.GetOp() != nil {
		if e.Op, _ = proto.Marshal(s.GetOp()); e.Op == nil {
			e.Op = []byte{}
		}
	}
	switch sub := s.GetSubject().(type) {
	case *errdefs.Solve_File:
		e.Action = int(sub.File.GetIndex())
	case *errdefs.Solve_Cache:
		e.Content = int(sub.Cache.GetIndex())
	}
	return e
}
