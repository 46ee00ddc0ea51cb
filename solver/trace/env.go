package trace

import (
	"fmt"

	"github.com/containerd/errdefs"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
)

// FromEnv returns the exporter that OpenTelemetry's variables ask for, nil for
// none. Endpoint, headers, certificates and the rest are read by the exporter
// itself. With OTEL_IGNORE_ERROR a setting that is not understood is none.
func FromEnv(getenv func(string) string) (otlptrace.Client, error) {
	client, err := fromEnv(getenv)
	if err != nil {
		if ignore := getenv("OTEL_IGNORE_ERROR"); ignore == "1" || ignore == "true" {
			return nil, nil
		}
	}
	return client, err
}

func fromEnv(getenv func(string) string) (otlptrace.Client, error) {
	switch kind := getenv("OTEL_TRACES_EXPORTER"); kind {
	case "none":
		return nil, nil
	case "otlp":
	case "":
		if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return nil, nil
		}
	case "jaeger":
		return nil, fmt.Errorf("unsupported opentelemetry exporter jaeger: Jaeger takes OTLP; "+
			"set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT: %w", errdefs.ErrInvalidArgument)
	default:
		return nil, fmt.Errorf("unsupported opentelemetry exporter %v: OTEL_TRACES_EXPORTER is otlp or none: %w", kind, errdefs.ErrInvalidArgument)
	}
	protocol := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "grpc":
		return otlptracegrpc.NewClient(), nil
	case "http/protobuf":
		return otlptracehttp.NewClient(), nil
	}
	return nil, fmt.Errorf("unsupported otlp protocol %v: use grpc or http/protobuf: %w", protocol, errdefs.ErrInvalidArgument)
}
