package statuspb

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/control"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// FromBatch converts a batch of events to the wire type.
func FromBatch(b *progress.Batch) *control.StatusResponse {
	out := &control.StatusResponse{}
	for _, v := range b.Vertices {
		out.Vertexes = append(out.Vertexes, vertex(v))
	}
	for _, st := range b.Statuses {
		out.Statuses = append(out.Statuses, &control.VertexStatus{
			ID: st.ID, Vertex: st.Vertex.String(), Name: st.Name, Current: st.Current, Total: st.Total,
			Timestamp: timestamppb.New(st.Timestamp), Started: stamp(st.Started), Completed: stamp(st.Completed),
		})
	}
	for _, l := range b.Logs {
		out.Logs = append(out.Logs, &control.VertexLog{
			Vertex: l.Vertex.String(), Timestamp: timestamppb.New(l.Timestamp), Stream: int64(l.Stream), Msg: l.Data,
		})
	}
	for _, w := range b.Warnings {
		out.Warnings = append(out.Warnings, &control.VertexWarning{
			Vertex: w.Vertex.String(), Level: int64(w.Level), Short: w.Short, Detail: w.Detail, Url: w.URL,
			Info: rpcerr.SourceInfo(w.Source), Ranges: llb.RangesToPB(w.Ranges),
		})
	}
	return out
}

func vertex(v *solver.VertexEvent) *control.Vertex {
	out := &control.Vertex{
		Digest: v.Digest.String(), Name: v.Name, Cached: v.Cached, Error: v.Error,
		Started: stamp(v.Started), Completed: stamp(v.Completed),
	}
	for _, in := range v.Inputs {
		out.Inputs = append(out.Inputs, in.String())
	}
	if g := v.Group; g != nil {
		out.ProgressGroup = &pb.ProgressGroup{Id: g.ID, Name: g.Name, Weak: g.Weak}
	}
	return out
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
