package build

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/source"
)

// maxNesting bounds frontends that call frontends.
const maxNesting = 10

// bridge is the builder as one frontend of one build sees it.
type bridge struct {
	job     *job
	nesting int
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
		Workers: []frontend.WorkerInfo{b.job.builder.cfg.Worker}, LLBCaps: caps,
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
		res, err = b.solveDefinition(ctx, req.Definition)
	}
	if err != nil || !req.Evaluate {
		return res, err
	}
	return res, evaluate(ctx, res)
}

func (b *bridge) solveDefinition(ctx context.Context, def *pb.Definition) (*frontend.Result, error) {
	if def == nil {
		return &frontend.Result{}, nil
	}
	g, err := b.job.load(ctx, def)
	if err != nil {
		return nil, fmt.Errorf("failed to load LLB: %w", err)
	}
	if g == nil {
		return &frontend.Result{}, nil
	}
	return &frontend.Result{Ref: &lazyRef{job: b.job, def: def, graph: g}}, nil
}

// builtinDockerfile is the name of the frontend that also answers to the
// gateway's name.
const (
	builtinDockerfile = "dockerfile.v0"
	gatewayFrontend   = "gateway.v0"
)

func (b *bridge) callFrontend(ctx context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	name := req.Frontend
	if name == gatewayFrontend && req.Opts["source"] == builtinDockerfile {
		name = builtinDockerfile
	}
	f, ok := b.job.builder.cfg.Frontends[name]
	if !ok {
		return nil, fmt.Errorf("frontend %q is not one of this builder's: %w", name, errdefs.ErrNotFound)
	}
	if b.nesting >= maxNesting {
		return nil, fmt.Errorf("frontends call each other more than %d deep: %w", maxNesting, errdefs.ErrResourceExhausted)
	}
	sub := &bridge{job: b.job, nesting: b.nesting + 1}
	res, err := safely(ctx, func() (*frontend.Result, error) {
		return f.Solve(ctx, sub, frontend.Request{Opts: req.Opts, Inputs: req.Inputs})
	})
	if err != nil {
		return nil, &solver.FrontendError{Name: name, Source: req.Opts["source"], Err: err}
	}
	return res, nil
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

// resolution is one answer of ResolveSource, asked for once in a build.
type resolution struct {
	once sync.Once
	done chan struct{}
	meta *frontend.SourceMeta
	err  error
}

// ResolveSource describes a source; the same question is asked once in a
// build.
func (b *bridge) ResolveSource(ctx context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	id, err := b.identifier(op, opt)
	if err != nil {
		return nil, err
	}
	question, err := json.Marshal([]any{id, opt.NoConfig, opt.CommitTime})
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", id, err)
	}
	key := digest.FromBytes(question)
	j := b.job
	j.mu.Lock()
	r := j.resolve[key]
	if r == nil {
		r = &resolution{done: make(chan struct{})}
		j.resolve[key] = r
	}
	j.mu.Unlock()
	r.once.Do(func() {
		defer close(r.done)
		r.meta, r.err = b.ask(ctx, key, id, op, opt)
		if ctx.Err() != nil {
			// The next one asks again.
			j.mu.Lock()
			delete(j.resolve, key)
			j.mu.Unlock()
		}
	})
	return r.meta, r.err
}

// identifier is what a source op means under the options.
func (b *bridge) identifier(op *pb.SourceOp, opt frontend.ResolveOptions) (source.Identifier, error) {
	p := opt.Platform
	if p == nil {
		native := b.job.builder.platform()
		p = &native
	}
	attrs := map[string]string{}
	for k, v := range op.GetAttrs() {
		attrs[k] = v
	}
	if opt.ResolveMode != "" {
		attrs["image.resolvemode"] = opt.ResolveMode
	}
	return source.ParseIdentifier(op.GetIdentifier(), attrs, &ocispecs.Platform{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
	})
}

// ask resolves a source as a vertex of its own.
func (b *bridge) ask(ctx context.Context, key digest.Digest, id source.Identifier, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	src, err := b.job.builder.cfg.Sources.Get(id.Scheme)
	if err != nil {
		return nil, err
	}
	resolver, ok := src.(source.Resolver)
	if !ok {
		return &frontend.SourceMeta{Op: op}, nil
	}
	name := opt.LogName
	if name == "" {
		name = "load metadata for " + id.String()
	}
	out := &frontend.SourceMeta{Op: op}
	err = b.job.inline(key, name, func(env solver.Env) error {
		meta, err := resolver.Resolve(ctx, env, id, source.ResolveOptions{NoConfig: opt.NoConfig, CommitTime: opt.CommitTime})
		if err != nil {
			return err
		}
		fillMeta(out, meta)
		return nil
	})
	if err != nil {
		// The words that clients' own resolvers put before it.
		return nil, fmt.Errorf("failed to resolve source metadata for %s: %w", id.Ref, err)
	}
	return out, nil
}

func fillMeta(out *frontend.SourceMeta, in *source.Meta) {
	if m := in.Image; m != nil {
		out.Image = &frontend.ImageMeta{Digest: m.Digest, Config: m.Config}
	}
	if m := in.Git; m != nil {
		out.Git = &frontend.GitMeta{Checksum: m.Checksum, Ref: m.Ref, CommitChecksum: m.CommitChecksum, CommitTime: m.CommitTime}
	}
	if m := in.HTTP; m != nil {
		out.HTTP = &frontend.HTTPMeta{Digest: m.Digest, Filename: m.Filename, LastModified: m.LastModified}
	}
}
