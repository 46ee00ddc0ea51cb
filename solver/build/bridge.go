package build

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// maxNesting bounds frontends that call frontends.
const maxNesting = 10

// bridge is the builder as one frontend of one build sees it.
type bridge struct {
	job     *job
	nesting int
	// call is what the frontend was asked.
	call *Call
}

// Info describes the build and the builder.
func (b *bridge) Info() frontend.Info {
	caps := map[string]bool{}
	for _, c := range llb.Caps() {
		_, disabled := b.job.builder.cfg.DisabledCaps[c.GetID()]
		caps[c.GetID()] = c.GetEnabled() && !disabled
	}
	return frontend.Info{
		SessionID: b.job.request.SessionID, Product: product,
		Workers: []frontend.WorkerInfo{b.job.builder.Worker()}, LLBCaps: caps,
	}
}

// Solve registers a graph or calls another frontend.
func (b *bridge) Solve(ctx context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	if req.Definition != nil && req.Frontend != "" {
		return nil, fmt.Errorf("cannot solve a definition and a frontend in one request: %w", errdefs.ErrInvalidArgument)
	}
	var res *frontend.Result
	var err error
	if req.Frontend != "" {
		res, err = b.callFrontend(ctx, req)
	} else {
		for _, c := range req.CacheImports {
			b.job.importCache(CacheRequest{Type: c.Type, Attrs: c.Attrs})
		}
		res, err = b.solveDefinition(ctx, req.Definition, req.Policies...)
	}
	if err != nil || !req.Evaluate {
		return res, err
	}
	return res, evaluate(ctx, res)
}

func (b *bridge) solveDefinition(ctx context.Context, def *pb.Definition, policies ...*spb.Policy) (*frontend.Result, error) {
	if def == nil {
		return &frontend.Result{}, nil
	}
	g, err := b.job.load(ctx, def, policies...)
	if err != nil {
		return nil, fmt.Errorf("failed to load LLB: %w", err)
	}
	if g == nil {
		return &frontend.Result{}, nil
	}
	return &frontend.Result{Ref: &lazyRef{b.call.solve(&Origin{Definition: def, job: b.job, graph: g})}}, nil
}

// builtinDockerfile is the name of the frontend that also answers to the
// gateway's name.
const (
	builtinDockerfile = "dockerfile.v0"
	gatewayFrontend   = "gateway.v0"
	optSource         = "source"
	optContext        = "context:"
)

func (b *bridge) callFrontend(ctx context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	req = builtin(req)
	f, ok := b.job.builder.cfg.Frontends[req.Frontend]
	if !ok {
		return nil, fmt.Errorf("frontend %q is not one of this builder's: %w", req.Frontend, errdefs.ErrNotFound)
	}
	if b.nesting >= maxNesting {
		return nil, fmt.Errorf("frontends call each other more than %d deep: %w", maxNesting, errdefs.ErrResourceExhausted)
	}
	sub := &bridge{job: b.job, nesting: b.nesting + 1, call: b.call.call(req)}
	ctx, end := b.job.builder.cfg.Span(ctx, "frontend "+req.Frontend)
	res, err := safely(ctx, func() (*frontend.Result, error) {
		return f.Solve(ctx, sub, frontend.Request{Opts: req.Opts, Inputs: req.Inputs})
	})
	end(err)
	if err != nil {
		return nil, &solver.FrontendError{Name: req.Frontend, Source: req.Opts[optSource], Err: err}
	}
	return res, nil
}

// builtin sends requests for an image of the built-in frontend to the frontend
// itself, unless the client says what is to stand for that image.
func builtin(req frontend.SolveRequest) frontend.SolveRequest {
	if req.Frontend != gatewayFrontend || req.Opts[optSource] != builtinDockerfile {
		return req
	}
	opts := maps.Clone(req.Opts)
	for k := range opts {
		if k == optContext+builtinDockerfile || strings.HasPrefix(k, optContext+builtinDockerfile+"::") {
			return req
		}
	}
	delete(opts, optSource)
	req.Frontend, req.Opts = builtinDockerfile, opts
	return req
}

// safely calls a frontend. Frontends read what strangers wrote: a panic of one
// fails its build, and the other builds go on.
func safely(ctx context.Context, call func() (*frontend.Result, error)) (res *frontend.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.G(ctx).Errorf("panic in a frontend: %v\n%s", p, debug.Stack())
			res, err = nil, fmt.Errorf("internal error: panic in the frontend: %v: %w", p, errdefs.ErrInternal)
		}
	}()
	return call()
}

// Warn passes advice on.
func (b *bridge) Warn(_ context.Context, w solver.WarningEvent) error {
	b.job.emit(solver.Event{Warning: &w})
	return nil
}
