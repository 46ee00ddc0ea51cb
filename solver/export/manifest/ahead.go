package manifest

import (
	"context"
	"runtime"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Ahead makes the layers of a file system that an image with these options is
// going to contain, beside steps that still run: it leaves them half of the
// cores. No layers are made, and none returned, if their times depend on what
// only the result tells.
func (o Options) Ahead(ctx context.Context, r *ref.Ref, env solver.Env) ([]ref.Layer, error) {
	if o.Rewrite {
		return nil, nil
	}
	opt := o.Layers
	opt.Workers = max(1, runtime.GOMAXPROCS(0)/2)
	return r.Layers(ctx, opt, env)
}
