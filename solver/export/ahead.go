package export

import (
	"context"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Early is an Instance that can begin before the result is whole.
type Early interface {
	Instance
	// Ahead prepares what Export will want of r, a file system that the result
	// is going to be based on: layers are hashed, compressed, sent. It is told
	// of a ref once, of several one after the other, while later steps run. It
	// leaves nothing visible to others but blobs that no manifest names. What
	// fails is tried again by Export, which reports it.
	Ahead(ctx context.Context, r *ref.Ref, env solver.Env) error
}
