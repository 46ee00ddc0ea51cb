package source

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/source"
)

// keyPrefix is part of a source's key, so that it is shared with caches that
// other builders exported.
const keyPrefix = "buildkit.source.v0:"

// Op is a source op.
type Op struct {
	instance source.Instance
}

// New opens the source that op names. Errors are errdefs InvalidArgument for
// attributes, NotFound for unknown schemes.
func New(ctx context.Context, sources *source.Registry, op *pb.SourceOp, platform *ocispecs.Platform) (*Op, error) {
	id, err := source.ParseIdentifier(op.GetIdentifier(), op.GetAttrs(), platform)
	if err != nil {
		return nil, err
	}
	src, err := sources.Get(id.Scheme)
	if err != nil {
		return nil, err
	}
	in, err := src.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", id, err)
	}
	return &Op{instance: in}, nil
}

// Keys asks the source for its identity.
func (o *Op) Keys(ctx context.Context, env solver.Env) (solver.KeySpec, error) {
	k, err := o.instance.Key(ctx, env)
	if err != nil {
		return solver.KeySpec{}, err
	}
	spec := solver.KeySpec{Digest: digest.FromString(keyPrefix + k.Definition), Volatile: k.Volatile}
	if k.Pin != "" {
		env.Emit(solver.Event{Pin: &solver.PinEvent{Pin: k.Pin}})
	}
	if k.Content != "" {
		spec.Content = digest.FromString(keyPrefix + k.Content)
	}
	return spec, nil
}

// Run fetches the bytes.
func (o *Op) Run(ctx context.Context, env solver.Env, _ []solver.Result) ([]solver.Result, error) {
	r, err := o.instance.Fetch(ctx, env)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return []solver.Result{nil}, nil
	}
	return []solver.Result{r}, nil
}
