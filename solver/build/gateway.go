package build

import (
	"context"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	pbgateway "github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// serveGateway lets the client drive the build until it returns.
func (j *job) serveGateway(ctx context.Context, br *bridge) (*frontend.Result, error) {
	s := br.OpenSession(ctx, j.request.Inputs)
	defer func() {
		if err := s.Close(context.WithoutCancel(ctx)); err != nil {
			log.G(ctx).WithError(err).Warn("close the frontend's containers")
		}
	}()
	j.mu.Lock()
	j.gateway = s
	j.mu.Unlock()
	j.builder.announce()
	return s.Wait(ctx)
}

// OpenSession opens a conversation with a frontend outside the daemon. From here
// on somebody may want to look into steps that fail.
func (b *bridge) OpenSession(ctx context.Context, inputs map[string]*pb.Definition) *gateway.Session {
	b.job.inspect(ctx)
	return gateway.NewSession(gateway.Config{
		Bridge: b, Inputs: inputs, Containers: b,
		Error: func(req *pbgateway.ReturnRequest) error { return rpcerr.FromStatus(req.GetError()) },
	})
}

// announce wakes those who wait for something about a job.
func (b *Builder) announce() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake()
}

// Gateway returns the bridge of a gateway build, which may start a little
// later than the call.
func (b *Builder) Gateway(ctx context.Context, id string) (*gateway.Session, error) {
	return find(ctx, b, id, gatewayWait, func() (*gateway.Session, bool) {
		j, ok := b.jobs[id]
		if !ok {
			return nil, false
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.gateway, j.gateway != nil
	})
}
