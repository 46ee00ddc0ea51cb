package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Solve runs a build and returns when all of it is done.
func (b *Builder) Solve(ctx context.Context, req *Request) (resp *Response, err error) {
	outputs, err := b.resolveExporters(ctx, req)
	if err != nil {
		return nil, err
	}
	exports, err := b.resolveCaches(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, a := range b.cfg.Attesters {
		if err := a.Check(req); err != nil {
			return nil, err
		}
	}
	j, err := b.open(req)
	if err != nil {
		return nil, err
	}
	defer j.close(ctx)
	rec := &Record{Request: req, Started: b.cfg.Now()}
	b.started(rec)
	var built *Built
	defer func() {
		rec.Completed, rec.Err, rec.Response, rec.Steps = b.cfg.Now(), err, resp, j.steps()
		rec.Predicates = j.record(context.WithoutCancel(ctx), built)
		b.ended(context.WithoutCancel(ctx), rec, j)
	}()
	if err := j.accept(); err != nil {
		return nil, err
	}
	defer j.importCaches(ctx)()
	j.ahead = startAhead(ctx, outputs, requestEnv{req})
	defer j.ahead.stop(ctx)
	res, err := j.result(ctx)
	if err != nil {
		return nil, err
	}
	j.ahead.expect(res)
	if err := evaluate(ctx, res); err != nil {
		return nil, err
	}
	j.ahead.finish()
	rec.Metadata = res.Metadata
	if built, err = j.attest(ctx, res, rec.Started); err != nil {
		return nil, err
	}
	j.advice = built.platformAdvice()
	src, release, err := j.source(ctx, built)
	if err != nil {
		return nil, err
	}
	defer release(context.WithoutCancel(ctx))
	chosen, err := j.choose(ctx, res)
	if err != nil {
		return nil, err
	}
	done, err := j.exportAll(ctx, append(outputs, chosen...), src, exports, res)
	if err != nil {
		return nil, err
	}
	rec.Outputs = done.descriptors
	for k, v := range res.Metadata {
		if strings.HasPrefix(k, "frontend.") {
			done.values[k] = string(v)
		}
	}
	if err := j.approve(ctx, done.values); err != nil {
		return nil, err
	}
	return &Response{Values: done.values}, nil
}

func (b *Builder) started(rec *Record) {
	if rec.Request.Internal {
		return
	}
	for _, o := range b.cfg.Observers {
		o.Started(rec)
	}
}

func (b *Builder) ended(ctx context.Context, rec *Record, j *job) {
	if rec.Request.Internal {
		return
	}
	j.stream.Close()
	for _, o := range b.cfg.Observers {
		o.Ended(ctx, rec, j.stream.Reader())
	}
}

// result gets the result from whoever is the frontend.
func (j *job) result(ctx context.Context) (*frontend.Result, error) {
	br := &bridge{job: j, call: j.root}
	req := j.request
	switch {
	case len(req.Definition.GetDef()) > 0 && req.Frontend != "":
		return nil, fmt.Errorf("invalid request: definition and frontend %s are both set: %w", req.Frontend, errdefs.ErrInvalidArgument)
	case req.Frontend != "":
		return br.callFrontend(ctx, frontend.SolveRequest{Frontend: req.Frontend, Opts: req.Opts, Inputs: req.Inputs})
	case req.Definition != nil:
		return br.solveDefinition(ctx, req.Definition)
	default:
		return j.serveGateway(ctx, br)
	}
}

// evaluate runs everything a result needs, side by side.
func evaluate(ctx context.Context, res *frontend.Result) error {
	group, ctx := errgroup.WithContext(ctx)
	if res.Ref != nil {
		group.Go(func() error { return res.Ref.Evaluate(ctx) })
	}
	for _, r := range res.Refs {
		if r != nil {
			group.Go(func() error { return r.Evaluate(ctx) })
		}
	}
	for _, list := range res.Attestations {
		for _, a := range list {
			if a.Ref != nil {
				group.Go(func() error { return a.Ref.Evaluate(ctx) })
			}
		}
	}
	return group.Wait()
}

// source holds the refs of an evaluated result for exporters.
func (j *job) source(ctx context.Context, b *Built) (*export.Source, func(context.Context), error) {
	res := b.Result
	src := &export.Source{Metadata: res.Metadata, Compatibility: b.CompatibilityVersion()}
	var held []*ref.Ref
	release := func(ctx context.Context) {
		for _, h := range held {
			_ = h.Release(ctx)
		}
	}
	take := func(r frontend.Ref) (*ref.Ref, error) {
		h, err := hold(ctx, r)
		if h != nil {
			held = append(held, h)
		}
		return h, err
	}
	err := j.fillSource(src, res, take)
	if err == nil {
		src.Attestations, err = b.attestations(take)
	}
	if err != nil {
		release(context.WithoutCancel(ctx))
		return nil, nil, err
	}
	return src, release, nil
}

func (j *job) fillSource(src *export.Source, res *frontend.Result, hold func(frontend.Ref) (*ref.Ref, error)) error {
	var err error
	if src.Platforms, err = platformList(res); err != nil {
		return err
	}
	if res.Refs == nil {
		src.Ref, err = hold(res.Ref)
		return err
	}
	src.Refs = map[string]*ref.Ref{}
	for k, r := range res.Refs {
		if src.Refs[k], err = hold(r); err != nil {
			return err
		}
	}
	return nil
}

// platformList reads the order of a result's refs.
func platformList(res *frontend.Result) ([]export.Platform, error) {
	data, ok := res.Metadata[frontend.MetaPlatforms]
	if !ok {
		if len(res.Refs) > 0 {
			return nil, fmt.Errorf("build result contains multiple refs without platforms mapping: %w", errdefs.ErrInvalidArgument)
		}
		return nil, nil
	}
	var list frontend.Platforms
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("result metadata %s: %w", frontend.MetaPlatforms, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	if len(list.Platforms) == 0 {
		return nil, fmt.Errorf("invalid empty platforms index for exporter: %w", errdefs.ErrInvalidArgument)
	}
	var out []export.Platform
	for _, p := range list.Platforms {
		if res.Refs != nil {
			if _, ok := res.Refs[p.ID]; !ok {
				return nil, fmt.Errorf("result metadata %s names %q, which is not in the result: %w",
					frontend.MetaPlatforms, p.ID, errdefs.ErrInvalidArgument)
			}
		}
		out = append(out, export.Platform{ID: p.ID, Platform: platforms.Normalize(p.Platform)})
	}
	return out, nil
}

// resolveExporters checks all outputs before anything is built.
func (b *Builder) resolveExporters(ctx context.Context, req *Request) ([]export.Instance, error) {
	var out []export.Instance
	for _, e := range req.Exporters {
		in, err := b.resolveExporter(ctx, req, e)
		if err != nil {
			return nil, err
		}
		out = append(out, in)
	}
	return out, nil
}

// resolveExporter checks one output.
func (b *Builder) resolveExporter(ctx context.Context, req *Request, e ExporterRequest) (export.Instance, error) {
	exp, ok := b.cfg.Exporters[e.Type]
	if !ok {
		return nil, fmt.Errorf("exporter %q could not be found: %w", e.Type, errdefs.ErrNotFound)
	}
	attrs := maps.Clone(e.Attrs)
	if attrs == nil {
		attrs = map[string]string{}
	}
	if epoch, ok := req.Opts["build-arg:SOURCE_DATE_EPOCH"]; ok {
		if _, set := attrs["source-date-epoch"]; !set && (epoch == "" || isInt(epoch)) {
			attrs["source-date-epoch"] = epoch
		}
	}
	return exp.Resolve(ctx, attrs)
}

func isInt(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// exported is what all exporters of a build made.
type exported struct {
	values      map[string]string
	descriptors map[int]ocispecs.Descriptor
}

// export runs all exporters side by side, then what they left to finish.
func (j *job) export(ctx context.Context, outputs []export.Instance, src *export.Source) (*exported, error) {
	done := &exported{values: map[string]string{}, descriptors: map[int]ocispecs.Descriptor{}}
	responses := make([]*export.Response, len(outputs))
	var mu sync.Mutex
	if len(outputs) == 0 {
		j.advise(&inlineEnv{job: j, vertex: j.exportVertex(0)})
	}
	group, gctx := errgroup.WithContext(ctx)
	for i, out := range outputs {
		group.Go(func() error {
			resp, err := j.exportOne(gctx, i, out, src)
			mu.Lock()
			defer mu.Unlock()
			responses[i] = resp
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, resp := range responses {
		for _, k := range slices.Sorted(maps.Keys(resp.Values)) {
			done.values[k] = resp.Values[k]
		}
		if resp.Descriptor != nil {
			done.descriptors[i] = *resp.Descriptor
		}
	}
	return done, nil
}

// exportVertex is what clients know an exporter by.
func (j *job) exportVertex(i int) digest.Digest {
	return digest.FromString(j.request.SessionID + "-export-" + strconv.Itoa(i))
}

// advise tells what the client should know about the result.
func (j *job) advise(env solver.Env) {
	for _, w := range j.advice {
		env.Emit(solver.Event{Warning: &w})
	}
}

// exportOne runs one exporter as a vertex, its finish included: a push is
// part of what the user watches.
func (j *job) exportOne(ctx context.Context, i int, out export.Instance, src *export.Source) (*export.Response, error) {
	var resp *export.Response
	ctx, end := j.builder.cfg.Span(ctx, out.Name())
	err := j.inline(j.exportVertex(i), out.Name(), func(env solver.Env) error {
		if i == 0 {
			j.advise(env)
		}
		var err error
		resp, err = out.Export(ctx, src, export.Target{Env: env, ID: i})
		if err != nil {
			return err
		}
		j.releaseLater(resp.Release)
		if resp.Finalize == nil {
			return nil
		}
		return resp.Finalize(ctx)
	})
	end(err)
	return resp, err
}
