package build

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// lazyRef is a graph that is solved when somebody looks into it. It implements
// frontend.Ref. The graph keeps what was solved until the job ends, so that
// every look costs only the first time.
type lazyRef struct {
	origin *Origin
}

// Definition returns the graph.
func (r *lazyRef) Definition(context.Context) (*pb.Definition, error) {
	return r.origin.Definition, nil
}

// Evaluate runs what the graph needs.
func (r *lazyRef) Evaluate(ctx context.Context) error {
	held, err := r.hold(ctx)
	if err != nil || held == nil {
		return err
	}
	return held.Release(context.WithoutCancel(ctx))
}

// hold returns the solved ref; the caller releases it. It may be nil.
func (r *lazyRef) hold(ctx context.Context) (*ref.Ref, error) {
	j, g := r.origin.job, r.origin.graph
	built, err := j.graph.Build(ctx, g.edge)
	if err != nil {
		return nil, j.inspectable(g.llb, sourced(g.llb, err))
	}
	r.origin.markSolved()
	return ref.From(built.Result)
}

// ReadFile reads a file of the result.
func (r *lazyRef) ReadFile(ctx context.Context, path string, offset, length int64) ([]byte, error) {
	return readFile(ctx, r, path, offset, length)
}

// ReadDir lists a directory of the result.
func (r *lazyRef) ReadDir(ctx context.Context, path, pattern string) ([]*fsutil.Stat, error) {
	return readDir(ctx, r, path, pattern)
}

// StatFile describes a file of the result.
func (r *lazyRef) StatFile(ctx context.Context, path string) (*fsutil.Stat, error) {
	return statFile(ctx, r, path)
}

// look calls fn with the solved ref, which is nil for an empty file system.
func look(ctx context.Context, r holder, fn func(*ref.Ref) error) error {
	held, err := r.hold(ctx)
	if err != nil {
		return err
	}
	if held != nil {
		defer func() { _ = held.Release(context.WithoutCancel(ctx)) }()
	}
	return fn(held)
}

func readFile(ctx context.Context, r holder, path string, offset, length int64) (data []byte, err error) {
	err = look(ctx, r, func(held *ref.Ref) error {
		data, err = held.ReadFile(ctx, path, offset, length)
		return err
	})
	return data, err
}

func readDir(ctx context.Context, r holder, path, pattern string) (entries []*fsutil.Stat, err error) {
	err = look(ctx, r, func(held *ref.Ref) error {
		entries, err = held.ReadDir(ctx, path, pattern)
		return err
	})
	return entries, err
}

func statFile(ctx context.Context, r holder, path string) (st *fsutil.Stat, err error) {
	err = look(ctx, r, func(held *ref.Ref) error {
		st, err = held.Stat(ctx, path)
		return err
	})
	return st, err
}

// holder is a frontend.Ref of this builder.
type holder interface {
	hold(ctx context.Context) (*ref.Ref, error)
}

// hold solves a ref that a frontend gave back; the caller releases it. Nil, the
// empty file system, stays nil.
func hold(ctx context.Context, r frontend.Ref) (*ref.Ref, error) {
	if r == nil {
		return nil, nil
	}
	h, ok := r.(holder)
	if !ok {
		return nil, fmt.Errorf("result %T was not made by this builder: %w", r, errdefs.ErrInvalidArgument)
	}
	return h.hold(ctx)
}

var _ solver.Result = (*ref.Ref)(nil)
