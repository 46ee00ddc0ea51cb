package rpcerr

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/errdefs"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Parts of the type URLs.
const (
	urlPrefix = "github.com/moby/buildkit/"
	urlSuffix = "+json"
)

// Names of the details.
const (
	nameVertex     = "errdefs.Vertex"
	nameSource     = "errdefs.Source"
	nameSubrequest = "errdefs.Subrequest"
	nameCap        = "errdefs.FrontendCap"
	nameFrontend   = "errdefs.Frontend"
	nameExit       = "gatewayapi.ExitMessage"
	nameDeny       = "policysession.DecisionResponse"
	nameSolve      = "errdefs.Solve"
	nameMaterials  = "errdefs.ProvenanceMaterialsIncomplete"
	nameFeature    = "errdefs.CompatibilityFeature"
)

// exitMessage is the JSON of an exit code.
type exitMessage struct {
	Code uint32 `json:"Code,omitempty"`
}

// detailOf returns the detail that one error of a chain stands for.
func detailOf(err error) (string, any) {
	switch e := err.(type) { //nolint:errorlint // the caller walks the chain
	case *solver.VertexError:
		return nameVertex, &errdefs.Vertex{Digest: e.Digest.String()}
	case *solver.SourceError:
		return nameSource, &errdefs.Source{Info: SourceInfo(e.Info), Ranges: llb.RangesToPB(e.Ranges)}
	case *solver.ExitError:
		return nameExit, &exitMessage{Code: uint32(e.Code)}
	case *solver.SubrequestError:
		return nameSubrequest, &errdefs.Subrequest{Name: e.Name}
	case *solver.CapError:
		return nameCap, &errdefs.FrontendCap{Name: e.Name}
	case *solver.FrontendError:
		return nameFrontend, &errdefs.Frontend{Name: e.Name, Source: e.Source}
	case *DenyError:
		return nameDeny, denyDetail(e)
	case *solver.InspectError:
		return nameSolve, solveDetail{e}
	case *solver.MaterialsError:
		return nameMaterials, materialsDetail(e)
	case *solver.CompatibilityError:
		return nameFeature, compatibilityDetail(e)
	}
	return "", nil
}

// details returns what the chain of err carries, outermost first.
func details(err error) []*anypb.Any {
	var out []*anypb.Any
	walk(err, func(e error) {
		name, value := detailOf(e)
		if name == "" {
			return
		}
		data, err := json.Marshal(value)
		if err == nil {
			out = append(out, &anypb.Any{TypeUrl: urlPrefix + name + urlSuffix, Value: data})
		}
	})
	return out
}

// walk calls fn for every error of a chain, outermost first.
func walk(err error, fn func(error)) {
	for err != nil {
		fn(err)
		switch e := err.(type) { //nolint:errorlint // this is the walk of the chain
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one, fn)
			}
			return
		default:
			err = errors.Unwrap(err)
		}
	}
}

// wrap puts a detail around err.
func wrap(detail *anypb.Any, err error) error {
	name, ok := strings.CutPrefix(detail.GetTypeUrl(), urlPrefix)
	if !ok {
		return err
	}
	name, ok = strings.CutSuffix(name, urlSuffix)
	if !ok {
		return err
	}
	wrapper := wrappers[name]
	if wrapper == nil {
		return err
	}
	return wrapper(detail.GetValue(), err)
}

// wrappers decode details. One that does not decode changes nothing: it is
// only an addition to an error that is complete without it.
var wrappers = map[string]func(data []byte, err error) error{
	nameVertex: func(data []byte, err error) error {
		var v errdefs.Vertex
		if json.Unmarshal(data, &v) != nil {
			return err
		}
		return &solver.VertexError{Digest: digest.Digest(v.GetDigest()), Err: err}
	},
	nameSource: func(data []byte, err error) error {
		var s errdefs.Source
		if json.Unmarshal(data, &s) != nil || s.GetInfo() == nil {
			return err
		}
		return &solver.SourceError{Info: FromSourceInfo(s.GetInfo()), Ranges: llb.RangesFromPB(s.GetRanges()), Err: err}
	},
	nameExit: func(data []byte, err error) error {
		var e exitMessage
		if json.Unmarshal(data, &e) != nil {
			return err
		}
		return &solver.ExitError{Code: int(e.Code), Err: err}
	},
	nameSubrequest: func(data []byte, err error) error {
		var s errdefs.Subrequest
		if json.Unmarshal(data, &s) != nil {
			return err
		}
		return &solver.SubrequestError{Name: s.GetName(), Err: err}
	},
	nameCap: func(data []byte, err error) error {
		var c errdefs.FrontendCap
		if json.Unmarshal(data, &c) != nil {
			return err
		}
		return &solver.CapError{Name: c.GetName(), Err: err}
	},
	nameDeny:      wrapDeny,
	nameSolve:     wrapSolve,
	nameMaterials: wrapMaterials,
	nameFeature:   wrapCompatibility,
	nameFrontend: func(data []byte, err error) error {
		var f errdefs.Frontend
		if json.Unmarshal(data, &f) != nil {
			return err
		}
		return &solver.FrontendError{Name: f.GetName(), Source: f.GetSource(), Err: err}
	},
}

// SourceInfo converts to the wire type; nil stays nil.
func SourceInfo(in *solver.SourceInfo) *pb.SourceInfo {
	if in == nil {
		return nil
	}
	out := &pb.SourceInfo{Filename: in.Filename, Data: in.Data, Language: in.Language}
	if in.Definition != nil {
		out.Definition = &pb.Definition{}
		if proto.Unmarshal(in.Definition, out.Definition) != nil {
			out.Definition = nil // an addition: the place is told without it
		}
	}
	return out
}

// FromSourceInfo converts from the wire type; nil stays nil.
func FromSourceInfo(in *pb.SourceInfo) *solver.SourceInfo {
	if in == nil {
		return nil
	}
	out := &solver.SourceInfo{Filename: in.GetFilename(), Data: in.GetData(), Language: in.GetLanguage()}
	if in.Definition != nil {
		if data, err := (proto.MarshalOptions{Deterministic: true}).Marshal(in.Definition); err == nil {
			out.Definition = data
		}
	}
	return out
}
