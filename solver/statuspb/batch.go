package statuspb

import (
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// ToBatch converts from the wire type.
func ToBatch(in *control.StatusResponse) *progress.Batch {
	out := &progress.Batch{}
	for _, v := range in.GetVertexes() {
		out.Vertices = append(out.Vertices, toVertex(v))
	}
	for _, s := range in.GetStatuses() {
		out.Statuses = append(out.Statuses, &solver.StatusEvent{
			ID: s.GetID(), Vertex: digest.Digest(s.GetVertex()), Name: s.GetName(), Current: s.GetCurrent(), Total: s.GetTotal(),
			Timestamp: s.GetTimestamp().AsTime(), Started: toTime(s.GetStarted()), Completed: toTime(s.GetCompleted()),
		})
	}
	for _, l := range in.GetLogs() {
		out.Logs = append(out.Logs, &solver.LogEvent{
			Vertex: digest.Digest(l.GetVertex()), Timestamp: l.GetTimestamp().AsTime(), Stream: int(l.GetStream()), Data: l.GetMsg(),
		})
	}
	for _, w := range in.GetWarnings() {
		out.Warnings = append(out.Warnings, &solver.WarningEvent{
			Vertex: digest.Digest(w.GetVertex()), Level: int(w.GetLevel()), Short: w.GetShort(), Detail: w.GetDetail(), URL: w.GetUrl(),
			Source: rpcerr.FromSourceInfo(w.GetInfo()), Ranges: llb.RangesFromPB(w.GetRanges()),
		})
	}
	return out
}

func toVertex(v *control.Vertex) *solver.VertexEvent {
	out := &solver.VertexEvent{
		Digest: digest.Digest(v.GetDigest()), Name: v.GetName(), Cached: v.GetCached(), Error: v.GetError(),
		Started: toTime(v.GetStarted()), Completed: toTime(v.GetCompleted()),
	}
	for _, in := range v.GetInputs() {
		out.Inputs = append(out.Inputs, digest.Digest(in))
	}
	if g := v.GetProgressGroup(); g != nil {
		out.Group = &solver.ProgressGroup{ID: g.GetId(), Name: g.GetName(), Weak: g.GetWeak()}
	}
	return out
}

func toTime(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
