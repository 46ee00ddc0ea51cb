package control

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/build"
	session "github.com/kilnbuild/kiln/solver/frontend/gateway"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
)

// headerBuild names the gateway build a call belongs to.
const headerBuild = "buildkit-controlapi-buildid"

// forwarder passes bridge calls to the build they belong to.
type forwarder struct {
	gateway.UnimplementedLLBBridgeServer
	builder *build.Builder
}

// of finds the build that a call names.
func (f *forwarder) of(ctx context.Context) (*session.Session, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ids := md.Get(headerBuild)
	if len(ids) == 0 || ids[0] == "" {
		return nil, fmt.Errorf("no buildid found in context: %w", errdefs.ErrInvalidArgument)
	}
	return f.builder.Gateway(ctx, ids[0])
}

// forward calls a method of the build's bridge.
func forward[Req, Resp any](ctx context.Context, f *forwarder, req Req, call func(*session.Session, context.Context, Req) (Resp, error)) (Resp, error) {
	s, err := f.of(ctx)
	if err != nil {
		var zero Resp
		return zero, err
	}
	return call(s, ctx, req)
}

// ResolveImageConfig forwards.
func (f *forwarder) ResolveImageConfig(ctx context.Context, req *gateway.ResolveImageConfigRequest) (*gateway.ResolveImageConfigResponse, error) {
	return forward(ctx, f, req, (*session.Session).ResolveImageConfig)
}

// ResolveSourceMeta forwards.
func (f *forwarder) ResolveSourceMeta(ctx context.Context, req *gateway.ResolveSourceMetaRequest) (*gateway.ResolveSourceMetaResponse, error) {
	return forward(ctx, f, req, (*session.Session).ResolveSourceMeta)
}

// Solve forwards.
func (f *forwarder) Solve(ctx context.Context, req *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	return forward(ctx, f, req, (*session.Session).Solve)
}

// ReadFile forwards.
func (f *forwarder) ReadFile(ctx context.Context, req *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	return forward(ctx, f, req, (*session.Session).ReadFile)
}

// ReadDir forwards.
func (f *forwarder) ReadDir(ctx context.Context, req *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	return forward(ctx, f, req, (*session.Session).ReadDir)
}

// StatFile forwards.
func (f *forwarder) StatFile(ctx context.Context, req *gateway.StatFileRequest) (*gateway.StatFileResponse, error) {
	return forward(ctx, f, req, (*session.Session).StatFile)
}

// Evaluate forwards.
func (f *forwarder) Evaluate(ctx context.Context, req *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	return forward(ctx, f, req, (*session.Session).Evaluate)
}

// Ping forwards.
func (f *forwarder) Ping(ctx context.Context, req *gateway.PingRequest) (*gateway.PongResponse, error) {
	return forward(ctx, f, req, (*session.Session).Ping)
}

// Return forwards.
func (f *forwarder) Return(ctx context.Context, req *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	return forward(ctx, f, req, (*session.Session).Return)
}

// Inputs forwards.
func (f *forwarder) Inputs(ctx context.Context, req *gateway.InputsRequest) (*gateway.InputsResponse, error) {
	return forward(ctx, f, req, (*session.Session).Inputs)
}

// Warn forwards.
func (f *forwarder) Warn(ctx context.Context, req *gateway.WarnRequest) (*gateway.WarnResponse, error) {
	return forward(ctx, f, req, (*session.Session).Warn)
}

// NewContainer forwards.
func (f *forwarder) NewContainer(ctx context.Context, req *gateway.NewContainerRequest) (*gateway.NewContainerResponse, error) {
	return forward(ctx, f, req, (*session.Session).NewContainer)
}

// ReleaseContainer forwards.
func (f *forwarder) ReleaseContainer(ctx context.Context, req *gateway.ReleaseContainerRequest) (*gateway.ReleaseContainerResponse, error) {
	return forward(ctx, f, req, (*session.Session).ReleaseContainer)
}

// ReadFileContainer forwards.
func (f *forwarder) ReadFileContainer(ctx context.Context, req *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	return forward(ctx, f, req, (*session.Session).ReadFileContainer)
}

// ReadDirContainer forwards.
func (f *forwarder) ReadDirContainer(ctx context.Context, req *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	return forward(ctx, f, req, (*session.Session).ReadDirContainer)
}

// StatFileContainer forwards.
func (f *forwarder) StatFileContainer(ctx context.Context, req *gateway.StatFileRequest) (*gateway.StatFileResponse, error) {
	return forward(ctx, f, req, (*session.Session).StatFileContainer)
}

// ExecProcess forwards.
func (f *forwarder) ExecProcess(stream gateway.LLBBridge_ExecProcessServer) error {
	s, err := f.of(stream.Context())
	if err != nil {
		return err
	}
	return s.ExecProcess(stream)
}
