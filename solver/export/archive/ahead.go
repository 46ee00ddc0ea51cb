package archive

import (
	"context"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/ref"
)

var _ export.Early = (*instance)(nil)

// Ahead implements export.Early: it makes layers.
func (in *instance) Ahead(ctx context.Context, r *ref.Ref, env solver.Env) error {
	_, err := in.opts.Ahead(ctx, r, env)
	return err
}
