package exec

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/kilnbuild/kiln/solver/executor"
)

// traceDest is where a step finds the socket that takes its spans.
const traceDest = "/dev/otel-grpc.sock"

// Tracing lets steps take part in traces.
type Tracing struct {
	// Environ returns the variables by which a step finds the trace of ctx;
	// none if nobody follows it.
	Environ func(ctx context.Context) []string
	// Socket takes spans in OTLP over gRPC; empty if there is none.
	Socket string
}

// trace adds what a step needs to take part in the trace of ctx. Variables that
// the build has set stay as they are.
func (t *Tracing) trace(ctx context.Context, c *executor.Container) {
	if t == nil {
		return
	}
	vars := t.Environ(ctx)
	if len(vars) == 0 {
		return
	}
	if t.Socket != "" {
		vars = append(vars, "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix://"+traceDest,
			"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc")
		c.Mounts = append(slices.Clip(c.Mounts), executor.Mount{Dest: traceDest, Readonly: true,
			Source: staticMount{mount.Mount{Type: "bind", Source: t.Socket, Options: []string{"rbind", "ro"}}}})
	}
	for _, v := range vars {
		name, _, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(c.Process.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			c.Process.Env = append(slices.Clip(c.Process.Env), v)
		}
	}
}
