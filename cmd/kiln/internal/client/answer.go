package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// headerBuild says which build a call of the bridge belongs to.
const headerBuild = "buildkit-controlapi-buildid"

// ask puts a question to a frontend in place of a build. Only the bridge
// returns the answer: the build itself is one that this client runs, of which
// the frontend is a part.
func (c *Client) ask(ctx context.Context, req *control.SolveRequest, answer func(map[string][]byte)) error {
	ctx = metadata.AppendToOutgoingContext(ctx, headerBuild, req.GetRef())
	bridge := gateway.NewLLBBridgeClient(c.conn)
	in := &gateway.SolveRequest{Frontend: req.GetFrontend(), FrontendOpt: req.GetFrontendAttrs(), AllowResultReturn: true, AllowResultArrayRef: true}
	for _, e := range req.GetCache().GetImports() {
		in.CacheImports = append(in.CacheImports, &gateway.CacheOptionsEntry{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	resp, err := bridge.Solve(ctx, in)
	ret := &gateway.ReturnRequest{Result: resp.GetResult()}
	if err != nil {
		ret = &gateway.ReturnRequest{Error: rpcerr.ToStatus(err)}
	}
	// The build ends with what is returned; it is waited for elsewhere.
	if _, returned := bridge.Return(ctx, ret); returned != nil && err == nil {
		err = fmt.Errorf("return the answer: %w", returned)
	}
	if err == nil {
		answer(resp.GetResult().GetMetadata())
	}
	return err
}

// withoutFrontend is the request of a build that its client runs.
func withoutFrontend(req *control.SolveRequest) *control.SolveRequest {
	out := proto.CloneOf(req)
	out.Frontend, out.Definition = "", nil
	return out
}
