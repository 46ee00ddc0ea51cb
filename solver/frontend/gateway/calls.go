package gateway

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// maxRead bounds what one call reads of a file, in bytes: below the limit of
// a message.
const maxRead = 15 << 20

// Solve hands a graph, or a request for another frontend, to the bridge.
func (s *Session) Solve(ctx context.Context, req *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	for name, def := range req.GetFrontendInputs() {
		if def.GetDef() == nil && def.GetMetadata() == nil {
			return nil, fmt.Errorf("input %q: invalid nil input definition to definition op: %w", name, errdefs.ErrInvalidArgument)
		}
	}
	sr := frontend.SolveRequest{
		Definition: req.GetDefinition(), Frontend: req.GetFrontend(), Opts: req.GetFrontendOpt(),
		Inputs: req.GetFrontendInputs(), Evaluate: req.GetEvaluate(),
		Policies: req.GetSourcePolicies(),
	}
	for _, e := range req.GetCacheImports() {
		sr.CacheImports = append(sr.CacheImports, frontend.CacheImport{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	res, err := s.bridge.Solve(ctx, sr)
	if err != nil {
		return nil, s.outward(err)
	}
	if !req.GetAllowResultReturn() {
		if res.Refs != nil {
			return nil, fmt.Errorf("this client cannot take results for several platforms: %w", errdefs.ErrFailedPrecondition)
		}
		id, err := s.put(res.Ref)
		return &gateway.SolveResponse{Ref: id}, err
	}
	out, err := s.toResult(ctx, res, req.GetAllowResultArrayRef())
	if err != nil {
		return nil, err
	}
	return &gateway.SolveResponse{Result: out}, nil
}

// Return is the frontend's last word.
func (s *Session) Return(ctx context.Context, req *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	if req.GetError() != nil {
		return &gateway.ReturnResponse{}, s.finish(nil, s.inward(s.fromStatus(req)))
	}
	res, err := s.fromResult(req.GetResult())
	if err != nil {
		return nil, err
	}
	return &gateway.ReturnResponse{}, s.finish(res, nil)
}

// Evaluate runs what a ref needs.
func (s *Session) Evaluate(ctx context.Context, req *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	r, err := s.get(req.GetRef())
	if err != nil {
		return nil, err
	}
	if r != nil {
		err = r.Evaluate(ctx)
	}
	return &gateway.EvaluateResponse{}, s.outward(err)
}

// ReadFile reads a file, or a range of it.
func (s *Session) ReadFile(ctx context.Context, req *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	r, err := s.need(req.GetRef())
	if err != nil {
		return nil, err
	}
	offset, length, err := rangeOf(req)
	if err != nil {
		return nil, err
	}
	data, err := r.ReadFile(ctx, req.GetFilePath(), offset, length)
	if err != nil {
		return nil, s.outward(err)
	}
	return fileResponse(req, data)
}

func fileResponse(req *gateway.ReadFileRequest, data []byte) (*gateway.ReadFileResponse, error) {
	if len(data) > maxRead {
		return nil, fmt.Errorf("%q is larger than %d bytes, read it in ranges: %w", req.GetFilePath(), maxRead, errdefs.ErrResourceExhausted)
	}
	return &gateway.ReadFileResponse{Data: data}, nil
}

// rangeOf checks and returns what part of a file is wanted.
func rangeOf(req *gateway.ReadFileRequest) (offset, length int64, err error) {
	offset, length = req.GetRange().GetOffset(), req.GetRange().GetLength()
	if offset < 0 || length < 0 {
		err = fmt.Errorf("range %d+%d of %q is negative: %w", offset, length, req.GetFilePath(), errdefs.ErrInvalidArgument)
	}
	return offset, length, err
}

// ReadDir lists a directory.
func (s *Session) ReadDir(ctx context.Context, req *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	r, err := s.need(req.GetRef())
	if err != nil {
		return nil, err
	}
	entries, err := r.ReadDir(ctx, req.GetDirPath(), req.GetIncludePattern())
	if err != nil {
		return nil, s.outward(err)
	}
	return &gateway.ReadDirResponse{Entries: entries}, nil
}

// StatFile describes a file.
func (s *Session) StatFile(ctx context.Context, req *gateway.StatFileRequest) (*gateway.StatFileResponse, error) {
	r, err := s.need(req.GetRef())
	if err != nil {
		return nil, err
	}
	st, err := r.StatFile(ctx, req.GetPath())
	if err != nil {
		return nil, s.outward(err)
	}
	return &gateway.StatFileResponse{Stat: st}, nil
}

// Inputs returns the graphs the frontend was called with.
func (s *Session) Inputs(context.Context, *gateway.InputsRequest) (*gateway.InputsResponse, error) {
	return &gateway.InputsResponse{Definitions: s.inputs}, nil
}

// Warn shows advice to the user.
func (s *Session) Warn(ctx context.Context, req *gateway.WarnRequest) (*gateway.WarnResponse, error) {
	dgst, err := digest.Parse(req.GetDigest())
	if err != nil {
		return nil, fmt.Errorf("warning for vertex %q: %w", req.GetDigest(), errdefs.ErrInvalidArgument)
	}
	err = s.bridge.Warn(ctx, solver.WarningEvent{
		Vertex: dgst, Level: int(req.GetLevel()), Short: req.GetShort(), Detail: req.GetDetail(), URL: req.GetUrl(),
		Source: rpcerr.FromSourceInfo(req.GetInfo()), Ranges: llb.RangesFromPB(req.GetRanges()),
	})
	return &gateway.WarnResponse{}, err
}

// ResolveImageConfig is the older form of ResolveSourceMeta for images.
func (s *Session) ResolveImageConfig(ctx context.Context, req *gateway.ResolveImageConfigRequest) (*gateway.ResolveImageConfigResponse, error) {
	op := &pb.SourceOp{Identifier: "docker-image://" + req.GetRef()}
	if req.GetResolverType() == 1 {
		op = &pb.SourceOp{Identifier: "oci-layout://" + req.GetRef(), Attrs: map[string]string{}}
		if req.GetSessionID() != "" {
			op.Attrs["oci.session"] = req.GetSessionID()
		}
		if req.GetStoreID() != "" {
			op.Attrs["oci.store"] = req.GetStoreID()
		}
	}
	meta, err := s.bridge.ResolveSource(ctx, op, frontend.ResolveOptions{
		LogName: req.GetLogName(), Platform: platformOf(req.GetPlatform()), ResolveMode: req.GetResolveMode(),
		Policies: req.GetSourcePolicies(),
	})
	if err != nil {
		return nil, err
	}
	if meta.Image == nil {
		return nil, fmt.Errorf("%s is not an image: %w", op.GetIdentifier(), errdefs.ErrInvalidArgument)
	}
	ref := meta.Op.GetIdentifier()
	for _, scheme := range []string{"docker-image://", "oci-layout://"} {
		if len(ref) > len(scheme) && ref[:len(scheme)] == scheme {
			ref = ref[len(scheme):]
		}
	}
	return &gateway.ResolveImageConfigResponse{Digest: meta.Image.Digest.String(), Config: meta.Image.Config, Ref: ref}, nil
}

// platformOf converts from the wire type; nil stays nil.
func platformOf(p *pb.Platform) *ocispecs.Platform {
	if p == nil {
		return nil
	}
	out := platforms.Normalize(ocispecs.Platform{
		OS: p.GetOS(), Architecture: p.GetArchitecture(), Variant: p.GetVariant(),
		OSVersion: p.GetOSVersion(), OSFeatures: p.GetOSFeatures(),
	})
	return &out
}
