package trace

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// stub converts a span to the type whose JSON clients read.
func stub(l *located) tracetest.SpanStub {
	s := l.span
	made := instrumentation.Scope{
		Name: l.scope.GetScope().GetName(), Version: l.scope.GetScope().GetVersion(), SchemaURL: l.scope.GetSchemaUrl(),
	}
	out := tracetest.SpanStub{
		Name: s.GetName(), SpanContext: spanContext(s.GetTraceId(), s.GetSpanId(), s.GetFlags(), s.GetTraceState()),
		Parent:   spanContext(s.GetTraceId(), s.GetParentSpanId(), s.GetFlags(), ""),
		SpanKind: oteltrace.SpanKind(s.GetKind()), StartTime: nanoseconds(s.GetStartTimeUnixNano()), EndTime: nanoseconds(s.GetEndTimeUnixNano()),
		Attributes: attributes(s.GetAttributes()), Status: status(s.GetStatus()),
		DroppedAttributes: int(s.GetDroppedAttributesCount()), DroppedEvents: int(s.GetDroppedEventsCount()), DroppedLinks: int(s.GetDroppedLinksCount()),
		Resource:               resource.NewWithAttributes(l.resource.GetSchemaUrl(), attributes(l.resource.GetResource().GetAttributes())...),
		InstrumentationScope:   made,
		InstrumentationLibrary: made, //nolint:staticcheck // older readers look there
	}
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, sdktrace.Event{
			Name: e.GetName(), Attributes: attributes(e.GetAttributes()), Time: nanoseconds(e.GetTimeUnixNano()),
			DroppedAttributeCount: int(e.GetDroppedAttributesCount()),
		})
	}
	for _, k := range s.GetLinks() {
		out.Links = append(out.Links, sdktrace.Link{
			SpanContext: spanContext(k.GetTraceId(), k.GetSpanId(), k.GetFlags(), k.GetTraceState()),
			Attributes:  attributes(k.GetAttributes()), DroppedAttributeCount: int(k.GetDroppedAttributesCount()),
		})
	}
	return out
}

// spanContext reads identifiers; those of the wrong length are zero.
func spanContext(traceBytes, spanBytes []byte, flags uint32, state string) oteltrace.SpanContext {
	var cfg oteltrace.SpanContextConfig
	if len(spanBytes) == len(cfg.SpanID) {
		copy(cfg.SpanID[:], spanBytes)
		cfg.TraceID, _ = traceID(traceBytes)
		// The upper bits have other meanings on the wire.
		cfg.TraceFlags = oteltrace.TraceFlags(flags & 0xff)
	}
	if parsed, err := oteltrace.ParseTraceState(state); err == nil {
		cfg.TraceState = parsed
	}
	return oteltrace.NewSpanContext(cfg)
}

func nanoseconds(n uint64) time.Time { return time.Unix(0, int64(n)).UTC() }

func status(s *tracepb.Status) sdktrace.Status {
	out := sdktrace.Status{Description: s.GetMessage()}
	switch s.GetCode() {
	case tracepb.Status_STATUS_CODE_ERROR:
		out.Code = codes.Error
	case tracepb.Status_STATUS_CODE_OK:
		out.Code = codes.Ok
	}
	return out
}

func attributes(in []*commonpb.KeyValue) []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, kv := range in {
		out = append(out, attribute.KeyValue{Key: attribute.Key(kv.GetKey()), Value: value(kv.GetValue())})
	}
	return out
}

// value converts what clients can read; nested values become text.
func value(in *commonpb.AnyValue) attribute.Value {
	switch v := in.GetValue().(type) {
	case *commonpb.AnyValue_BoolValue:
		return attribute.BoolValue(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return attribute.Int64Value(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return attribute.Float64Value(v.DoubleValue)
	case *commonpb.AnyValue_StringValue:
		return attribute.StringValue(v.StringValue)
	case *commonpb.AnyValue_ArrayValue:
		var texts []string
		for _, one := range v.ArrayValue.GetValues() {
			texts = append(texts, text(one))
		}
		return attribute.StringSliceValue(texts)
	}
	return attribute.StringValue(text(in))
}

func text(in *commonpb.AnyValue) string {
	if v, ok := in.GetValue().(*commonpb.AnyValue_StringValue); ok {
		return v.StringValue
	}
	return in.String()
}
