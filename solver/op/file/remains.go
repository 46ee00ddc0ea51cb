package file

import (
	"context"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver"
)

// remains collects what a run leaves whose action number failed did not
// succeed: the inputs, and for each action what it left. Actions that others
// went on with left nothing of their own.
func (r *run) remains(ctx context.Context, failed int) *solver.Failure {
	f := &solver.Failure{Action: failed, Content: -1, Mounts: make([]solver.Result, len(r.results))}
	for _, in := range r.inputs {
		f.Inputs = append(f.Inputs, in.Clone())
	}
	for i, res := range r.results {
		if res.segment == nil {
			f.Mounts[i] = res.ref.Clone()
			continue
		}
		r.results[i].segment = nil // commit ends it
		made, err := res.segment.commit(ctx)
		if err != nil {
			log.G(ctx).WithError(err).Warn("keep what a failed step wrote")
			continue
		}
		f.Mounts[i] = made
	}
	return f
}
