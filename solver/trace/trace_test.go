package trace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	oteltrace "go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/trace"
)

// receiver is an exporter that keeps names of spans.
type receiver struct {
	mu      sync.Mutex
	names   []string
	stopped bool
}

func (r *receiver) Start(context.Context) error { return nil }

func (r *receiver) Stop(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return nil
}

func (r *receiver) UploadTraces(_ context.Context, list []*tracepb.ResourceSpans) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range list {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.names = append(r.names, s.GetName())
			}
		}
	}
	return nil
}

func newTracer(t *testing.T, cfg trace.Config) *trace.Tracer {
	t.Helper()
	tr, err := trace.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// request is a request to solve.
type request struct {
	ref      string
	internal bool
}

func (r request) GetRef() string    { return r.ref }
func (r request) GetInternal() bool { return r.internal }

// call calls fn as the server would.
func call(ctx context.Context, t *trace.Tracer, method string, req any, fn func(context.Context) error) error {
	_, err := t.UnaryServer(ctx, req, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		return nil, fn(ctx)
	})
	return err
}

const (
	solve  = "/moby.buildkit.v1.Control/Solve"
	bridge = "/moby.buildkit.v1.frontend.LLBBridge/Solve"
)

// span is what tests read of the spans of a trace.
type span struct {
	Name                string
	SpanContext, Parent struct{ TraceID, SpanID string }
}

// decode reads a trace as clients do, by the names of spans.
func decode(t *testing.T, data []byte) map[string]span {
	t.Helper()
	out := map[string]span{}
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var s span
		err := dec.Decode(&s)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[s.Name] = s
	}
}

// TestOneTrace: a client's trace goes through the daemon, its gateway calls and
// into what steps send back.
func TestOneTrace(t *testing.T) {
	far := &receiver{}
	tr := newTracer(t, trace.Config{Exporter: far, Service: "test", Version: "1"})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", parent))
	var after context.Context
	err := call(ctx, tr, solve, request{ref: "build"}, func(ctx context.Context) error {
		after = context.WithoutCancel(ctx)
		tr.Record(after)
		if !tr.Outside(ctx) {
			t.Error("nobody outside follows a trace that a client brought")
		}
		gateway := metadata.NewIncomingContext(t.Context(), metadata.Pairs("buildkit-controlapi-buildid", "build"))
		return call(gateway, tr, bridge, nil, func(ctx context.Context) error {
			ctx, end := tr.Start(ctx, "RUN make")
			defer end(errors.New("exit code: 1"))
			vars := trace.Environ(ctx)
			if len(vars) != 1 || !strings.HasPrefix(vars[0], "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-") {
				t.Errorf("a step gets %q", vars)
			}
			id, _ := oteltrace.TraceIDFromHex("0af7651916cd43dd8448eb211c80319c")
			_, err := tr.Service().Export(ctx, &collector.ExportTraceServiceRequest{ResourceSpans: spans(id[:], "cc main.c")})
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := tr.Take(after)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, data)
	if len(got) != 4 {
		t.Fatalf("trace: %s", data)
	}
	root, gateway, step := got[solve[1:]], got[bridge[1:]], got["RUN make"]
	if root.Parent.SpanID != "b7ad6b7169203331" || gateway.Parent.SpanID != root.SpanContext.SpanID ||
		step.Parent.SpanID != gateway.SpanContext.SpanID {
		t.Errorf("the spans do not hang together: %s", data)
	}
	if data, err := tr.Take(after); data != nil || err != nil {
		t.Errorf("the trace is still recorded: %s, %v", data, err)
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(far.names)
	if want := []string{"RUN make", "cc main.c", solve[1:], bridge[1:]}; !slices.Equal(far.names, want) || !far.stopped {
		t.Errorf("exported %q, stopped %t", far.names, far.stopped)
	}
}

// spans makes one span of a trace.
func spans(id []byte, name string) []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{
		TraceId: id, SpanId: []byte("12345678"), Name: name,
		Attributes: []*commonpb.KeyValue{{Key: "k", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 3}}}},
	}}}}}}
}

// TestInternalBuilds have no trace, and work outside a trace costs nothing.
func TestInternalBuilds(t *testing.T) {
	tr := newTracer(t, trace.Config{})
	err := call(t.Context(), tr, solve, request{ref: "build", internal: true}, func(ctx context.Context) error {
		if tr.Outside(ctx) || trace.Environ(ctx) != nil {
			t.Error("an internal build is traced")
		}
		if n := testing.AllocsPerRun(100, func() {
			_, end := tr.Start(ctx, "step")
			end(nil)
		}); n != 0 {
			t.Errorf("%v allocations for a step that nobody traces", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	var none *trace.Tracer
	if _, end := none.Start(t.Context(), "step"); end == nil || none.Outside(t.Context()) || none.Service() != nil {
		t.Error("no tracer is not nothing")
	}
}

// TestRecordingsEnd with the call if nobody took them over: a build that is
// refused leaves nothing.
func TestRecordingsEnd(t *testing.T) {
	tr := newTracer(t, trace.Config{})
	var inside context.Context
	refused := errors.New("refused")
	err := call(t.Context(), tr, solve, request{ref: "build"}, func(ctx context.Context) error {
		inside = ctx
		if tr.Outside(ctx) {
			t.Error("a trace that nobody but the daemon has is followed outside")
		}
		return refused
	})
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	if data, err := tr.Take(inside); data != nil || err != nil {
		t.Errorf("left: %s, %v", data, err)
	}
}

func TestFromEnv(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		some bool
		text string
	}{
		{nil, false, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, false, ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, true, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, "unsupported otlp protocol http/json"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "unsupported opentelemetry exporter zipkin"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "jaeger"}, false, "Jaeger takes OTLP"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_IGNORE_ERROR": "true"}, false, ""},
	} {
		client, err := trace.FromEnv(func(name string) string { return tt.env[name] })
		if (client != nil) != tt.some || (err != nil) != (tt.text != "") || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%v: %v, %v", tt.env, client, err)
		}
	}
}

// FuzzExport: whatever a stranger sends as spans, a record can be made of it.
func FuzzExport(f *testing.F) {
	id := bytes.Repeat([]byte{7}, 16)
	for _, list := range [][]*tracepb.ResourceSpans{nil, spans(id, "x"), spans([]byte("short"), "y")} {
		data, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: list})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req := &collector.ExportTraceServiceRequest{}
		if proto.Unmarshal(data, req) != nil {
			return
		}
		tr := newTracer(t, trace.Config{})
		ctx := oteltrace.ContextWithSpanContext(t.Context(), oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
			TraceID: oteltrace.TraceID(id), SpanID: oteltrace.SpanID{1},
		}))
		tr.Record(ctx)
		if _, err := tr.Service().Export(ctx, req); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Take(ctx); err != nil {
			t.Fatal(err)
		}
	})
}
