package build

import (
	"context"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	pbgateway "github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// serveGateway lets the client drive the build until it returns.
func (j *job) serveGateway(ctx context.Context, br *bridge) (*frontend.Result, error) {
	s := gateway.NewSession(gateway.Config{
		Bridge: br, Inputs: j.request.Inputs,
		Error: func(req *pbgateway.ReturnRequest) error { return rpcerr.FromStatus(req.GetError()) },
	})
	j.mu.Lock()
	j.gateway = s
	j.mu.Unlock()
	j.builder.announce()
	return s.Wait(ctx)
}

// announce wakes those who wait for something about a job.
func (b *Builder) announce() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
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
