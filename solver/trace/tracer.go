package trace

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// scope names the maker of the daemon's spans.
const scope = "github.com/kilnbuild/kiln"

// Config is what a Tracer is made of.
type Config struct {
	// Exporter gets all spans; nil for none. See FromEnv.
	Exporter otlptrace.Client
	// Service and Version describe the daemon. OTEL_SERVICE_NAME and
	// OTEL_RESOURCE_ATTRIBUTES of the environment come before them.
	Service, Version string
	// Fault is told when spans cannot be exported; nil tells nobody.
	Fault func(error)
}

// Tracer makes and takes spans. Use New.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   oteltrace.Tracer
	records  *recorder
	forward  *forwarder // nil without an exporter
	builds   joins
}

// New returns a Tracer. Close it.
func New(ctx context.Context, cfg Config) (*Tracer, error) {
	t := &Tracer{records: newRecorder()}
	t.builds.init()
	if cfg.Exporter != nil {
		if err := cfg.Exporter.Start(ctx); err != nil {
			return nil, fmt.Errorf("start exporter of traces: %w", err)
		}
		t.forward = newForwarder(ctx, cfg.Exporter, cfg.Fault)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the daemon in traces: %w", err)
	}
	own, err := otlptrace.New(ctx, sink{t})
	if err != nil {
		return nil, fmt.Errorf("start tracing: %w", err)
	}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(described), sdktrace.WithSyncer(own))
	t.tracer = t.provider.Tracer(scope, oteltrace.WithInstrumentationVersion(cfg.Version))
	return t, nil
}

// Close exports what is left, or as much as ctx allows.
func (t *Tracer) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if t.forward != nil {
		if ferr := t.forward.close(ctx); err == nil {
			err = ferr
		}
	}
	if err != nil {
		return fmt.Errorf("stop tracing: %w", err)
	}
	return nil
}

// nothing ends a span that there is not.
func nothing(error) {}

// Start begins a span below that of ctx; call end with the outcome. Outside a
// trace it returns ctx itself and allocates nothing.
func (t *Tracer) Start(ctx context.Context, name string) (_ context.Context, end func(error)) {
	if t == nil || !oteltrace.SpanFromContext(ctx).IsRecording() {
		return ctx, nothing
	}
	return t.begin(ctx, name, oteltrace.SpanKindInternal)
}

// Enter begins the span of a call of a client's, in the trace that the client
// brought along or else in a new one.
func (t *Tracer) Enter(ctx context.Context, name string) (_ context.Context, end func(error)) {
	return t.begin(ctx, name, oteltrace.SpanKindServer)
}

func (t *Tracer) begin(ctx context.Context, name string, kind oteltrace.SpanKind) (context.Context, func(error)) {
	ctx, span := t.tracer.Start(ctx, name, oteltrace.WithSpanKind(kind))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// outsideKey marks contexts whose trace came from a client.
type outsideKey struct{}

// Outside reports whether somebody beside the daemon follows the trace of ctx.
func (t *Tracer) Outside(ctx context.Context) bool {
	if t == nil || !oteltrace.SpanFromContext(ctx).IsRecording() {
		return false
	}
	return t.forward != nil || ctx.Value(outsideKey{}) != nil
}

// take distributes spans, made here or sent from elsewhere.
func (t *Tracer) take(spans []*tracepb.ResourceSpans) {
	t.records.add(spans)
	if t.forward != nil {
		t.forward.add(spans)
	}
}

// sink receives the spans of the daemon itself, already in OTLP's form.
type sink struct{ t *Tracer }

// Start does nothing.
func (sink) Start(context.Context) error { return nil }

// Stop does nothing.
func (sink) Stop(context.Context) error { return nil }

// UploadTraces takes spans.
func (s sink) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	s.t.take(spans)
	return nil
}

// propagator reads and writes W3C's headers.
var propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// Environ returns the variables by which a child process finds the trace of
// ctx; none outside a trace.
func Environ(ctx context.Context) []string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	var out []string
	for _, v := range []struct{ header, name string }{{"traceparent", "TRACEPARENT"}, {"tracestate", "TRACESTATE"}} {
		if value := carrier[v.header]; value != "" {
			out = append(out, v.name+"="+value)
		}
	}
	return out
}
