package build

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// keptRef is what a failed step left. It implements frontend.Ref, so that it
// can be looked into, mounted, and even be a build's result.
type keptRef struct {
	of  *failure
	ref *ref.Ref
}

// hold returns one more hold, while it is kept.
func (r *keptRef) hold(context.Context) (*ref.Ref, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.gone {
		return nil, fmt.Errorf("what the failed step left is not kept any more: %w", errdefs.ErrNotFound)
	}
	return r.ref.Hold(), nil
}

// Definition returns nil: there is no graph of it.
func (r *keptRef) Definition(context.Context) (*pb.Definition, error) { return nil, nil }

// Evaluate does nothing: it is there.
func (r *keptRef) Evaluate(context.Context) error { return nil }

// ReadFile reads a file.
func (r *keptRef) ReadFile(ctx context.Context, path string, offset, length int64) ([]byte, error) {
	return readFile(ctx, r, path, offset, length)
}

// ReadDir lists a directory.
func (r *keptRef) ReadDir(ctx context.Context, path, pattern string) ([]*fsutil.Stat, error) {
	return readDir(ctx, r, path, pattern)
}

// StatFile describes a file.
func (r *keptRef) StatFile(ctx context.Context, path string) (*fsutil.Stat, error) {
	return statFile(ctx, r, path)
}
