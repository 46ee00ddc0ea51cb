package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Names of the subrequests.
const (
	requestDescribe = "frontend.subrequests.describe"
	requestOutline  = "frontend.outline"
	requestTargets  = "frontend.targets"
	requestLint     = "frontend.lint"
	requestGraph    = "frontend.convertllb"
)

// answerVersion is the version of all answers.
const answerVersion = "1.0.0"

// subrequest answers a question about the file.
func (r *request) subrequest(ctx context.Context, name string) (*frontend.Result, error) {
	switch name {
	case requestDescribe:
		return describe()
	case requestOutline:
		return r.outline(ctx)
	case requestTargets:
		return r.targets()
	case requestLint:
		return r.lint(ctx)
	case requestGraph:
		return r.graph(ctx)
	}
	return nil, &solver.SubrequestError{Name: name}
}

// answer is a result without files: what programs read, and what people read.
func answer(value any, text []byte) (*frontend.Result, error) {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("marshal answer: %w", err)
	}
	result := &frontend.Result{}
	result.SetMeta("result.json", encoded)
	result.SetMeta("result.txt", text)
	result.SetMeta("version", []byte(answerVersion))
	return result, nil
}

// location is a place as answers hold it; nil for none.
func location(ranges []syntax.Range) *pb.Location {
	if len(ranges) == 0 {
		return nil
	}
	return &pb.Location{Ranges: wireRanges(ranges)}
}

func wireRanges(ranges []syntax.Range) []*pb.Range {
	out := make([]*pb.Range, len(ranges))
	for i, r := range ranges {
		out[i] = &pb.Range{
			Start: &pb.Position{Line: int32(r.Start.Line), Character: int32(r.Start.Character)},
			End:   &pb.Position{Line: int32(r.End.Line), Character: int32(r.End.Character)},
		}
	}
	return out
}
