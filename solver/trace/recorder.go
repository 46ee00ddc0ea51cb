package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	oteltrace "go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Bounds of one recording: what is over them is not kept.
const (
	maxSpans = 50_000
	maxBytes = 32 << 20
)

// recorder keeps the spans of the traces that somebody records.
type recorder struct {
	mu     sync.Mutex
	traces map[oteltrace.TraceID]*recording
}

type recording struct {
	// takers are the calls of record without their take.
	takers int
	spans  []*located
	bytes  int
}

// located is a span with what stands once for many on the wire.
type located struct {
	resource *tracepb.ResourceSpans
	scope    *tracepb.ScopeSpans
	span     *tracepb.Span
}

func newRecorder() *recorder { return &recorder{traces: map[oteltrace.TraceID]*recording{}} }

// add keeps the spans of recorded traces. Spans belong to the recorder then.
func (r *recorder) add(list []*tracepb.ResourceSpans) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.traces) == 0 {
		return
	}
	for _, rs := range list {
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				r.addOne(&located{rs, ss, span})
			}
		}
	}
}

func (r *recorder) addOne(l *located) {
	id, ok := traceID(l.span.GetTraceId())
	if !ok {
		return
	}
	rec := r.traces[id]
	size := proto.Size(l.span)
	if rec == nil || len(rec.spans) >= maxSpans || rec.bytes+size > maxBytes {
		return
	}
	rec.bytes += size
	rec.spans = append(rec.spans, l)
}

func traceID(b []byte) (id oteltrace.TraceID, ok bool) {
	if len(b) != len(id) {
		return id, false
	}
	copy(id[:], b)
	return id, id.IsValid()
}

// Record keeps the spans of ctx's trace from now on, until Take was called as
// often as Record.
func (t *Tracer) Record(ctx context.Context) {
	sc := oteltrace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return
	}
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	rec := t.records.traces[sc.TraceID()]
	if rec == nil {
		rec = &recording{}
		t.records.traces[sc.TraceID()] = rec
	}
	rec.takers++
}

// Take ends a recording and returns it in the form in which clients of build
// histories read it: JSON objects, one after the other. It is nil if there was
// no recording or nothing in it.
func (t *Tracer) Take(ctx context.Context) ([]byte, error) {
	spans := t.forget(ctx)
	if len(spans) == 0 {
		return nil, nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	for _, l := range spans {
		if err := enc.Encode(stub(l)); err != nil {
			return nil, fmt.Errorf("write trace: %w", err)
		}
	}
	return out.Bytes(), nil
}

// forget undoes one Record and returns what there is so far.
func (t *Tracer) forget(ctx context.Context) []*located {
	id := oteltrace.SpanContextFromContext(ctx).TraceID()
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	rec := t.records.traces[id]
	if rec == nil {
		return nil
	}
	if rec.takers--; rec.takers == 0 {
		delete(t.records.traces, id)
	}
	return rec.spans
}
