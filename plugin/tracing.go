package plugin

import (
	"context"

	"github.com/kilnbuild/kiln/solver/op/exec"
	"github.com/kilnbuild/kiln/solver/trace"
)

// tracing lets steps take part in traces that somebody outside follows. Other
// builds get nothing, because variables may end up in what steps make.
func tracing(opt Options) *exec.Tracing {
	if opt.Traces == nil {
		return nil
	}
	return &exec.Tracing{Socket: opt.TraceSocket, Environ: func(ctx context.Context) []string {
		if !opt.Traces.Outside(ctx) {
			return nil
		}
		return trace.Environ(ctx)
	}}
}
