package trace

import (
	"context"
	"strings"
	"sync"

	oteltrace "go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Methods that are worth a span. Others are quick, or streams that last as long
// as somebody watches.
const (
	methodSolve  = "/moby.buildkit.v1.Control/Solve"
	bridgePrefix = "/moby.buildkit.v1.frontend.LLBBridge/"
	// headerBuild names the gateway build a call belongs to.
	headerBuild = "buildkit-controlapi-buildid"
)

// Service takes spans that others made; nil for no Tracer.
func (t *Tracer) Service() collector.TraceServiceServer {
	if t == nil {
		return nil
	}
	return service{t: t}
}

type service struct {
	collector.UnimplementedTraceServiceServer
	t *Tracer
}

// Export takes spans.
func (s service) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.t.take(req.GetResourceSpans())
	return &collector.ExportTraceServiceResponse{}, nil
}

// joins are the traces of running builds by the build's id.
type joins struct {
	mu  sync.Mutex
	ids map[string]context.Context //nolint:containedctx // values of a running call, dropped when it ends
}

func (j *joins) init() { j.ids = map[string]context.Context{} }

// enter notes the trace of a build until leave. A second build of the same id,
// which will be refused, changes nothing.
func (j *joins) enter(id string, ctx context.Context) (leave func()) { //nolint:revive // what is noted is the context
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.ids[id]; ok {
		return func() {}
	}
	j.ids[id] = ctx
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.ids, id)
	}
}

func (j *joins) of(id string) (context.Context, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	ctx, ok := j.ids[id]
	return ctx, ok
}

// solveRequest is what is read of a request to solve.
type solveRequest interface {
	GetRef() string
	GetInternal() bool
}

// UnaryServer is an interceptor that gives builds, and the calls of frontends
// that run in clients, their spans.
func (t *Tracer) UnaryServer(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	switch {
	case info.FullMethod == methodSolve:
		solve, ok := req.(solveRequest)
		if !ok {
			return next(ctx, req)
		}
		return t.solve(ctx, solve, func(ctx context.Context) (any, error) { return next(ctx, req) })
	case strings.HasPrefix(info.FullMethod, bridgePrefix):
		ctx, end := t.bridged(ctx, strings.TrimPrefix(info.FullMethod, "/"))
		resp, err := next(ctx, req)
		end(err)
		return resp, err
	}
	return next(ctx, req)
}

// StreamServer is an interceptor for the calls of such frontends that are
// streams: processes in containers.
func (t *Tracer) StreamServer(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !strings.HasPrefix(info.FullMethod, bridgePrefix) {
		return next(srv, ss)
	}
	ctx, end := t.bridged(ss.Context(), strings.TrimPrefix(info.FullMethod, "/"))
	err := next(srv, &tracedStream{ss, ctx})
	end(err)
	return err
}

// tracedStream is a stream in a trace.
type tracedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC streams carry theirs
}

// Context returns the context in the trace.
func (s *tracedStream) Context() context.Context { return s.ctx }

// solve calls next in the trace of a build.
func (t *Tracer) solve(ctx context.Context, req solveRequest, next func(context.Context) (any, error)) (any, error) {
	ctx = incoming(ctx)
	if req.GetInternal() && t.forward == nil && ctx.Value(outsideKey{}) == nil {
		return next(ctx) // nobody would ever see it
	}
	ctx, end := t.Enter(ctx, strings.TrimPrefix(methodSolve, "/"))
	if !req.GetInternal() {
		// Whoever wants the trace records it before the call ends.
		t.Record(ctx)
		defer t.forget(ctx)
	}
	defer t.builds.enter(req.GetRef(), ctx)()
	resp, err := next(ctx)
	end(err)
	return resp, err
}

// bridged puts a frontend's call into its build's trace, unless it has one.
func (t *Tracer) bridged(ctx context.Context, name string) (context.Context, func(error)) {
	ctx = incoming(ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	ids := md.Get(headerBuild)
	if len(ids) == 0 {
		return ctx, nothing
	}
	build, ok := t.builds.of(ids[0])
	if !ok {
		return ctx, nothing
	}
	if ctx.Value(outsideKey{}) == nil {
		ctx = oteltrace.ContextWithSpan(ctx, oteltrace.SpanFromContext(build))
		ctx = context.WithValue(ctx, outsideKey{}, build.Value(outsideKey{}))
	}
	return t.begin(ctx, name, oteltrace.SpanKindServer)
}

// incoming reads the trace that a client brought along.
func incoming(ctx context.Context) context.Context {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok || len(md.Get("traceparent")) == 0 {
		return ctx
	}
	ctx = propagator.Extract(ctx, headers(md))
	if !oteltrace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return context.WithValue(ctx, outsideKey{}, true)
}

// headers reads gRPC metadata for the propagator.
type headers metadata.MD

// Get returns the first value.
func (h headers) Get(key string) string {
	if v := metadata.MD(h).Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set is not used: headers are only read.
func (h headers) Set(key, value string) { metadata.MD(h).Set(key, value) }

// Keys lists the names.
func (h headers) Keys() []string {
	var out []string
	for k := range h {
		out = append(out, k)
	}
	return out
}
