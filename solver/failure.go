package solver

import (
	"context"
	"errors"
)

// Failure is what is left of a step that failed: the file systems that it read
// and those that it had half changed, for somebody who wants to look into them.
// It owns its results.
type Failure struct {
	// Inputs and Mounts are file systems; nil is the empty one. Of a process
	// that failed both have one entry for each mount, before and after; of
	// changes to files, Inputs has one for each input of the step and Mounts
	// one for each action that left something. Where a content was looked at,
	// Inputs has just that.
	Inputs, Mounts []Result
	// Action is the number of the action that failed, Content the number of
	// the input whose content could not be told; -1 for neither.
	Action, Content int
}

// Clone returns a Failure with holds of its own.
func (f *Failure) Clone() *Failure {
	c := *f
	c.Inputs, c.Mounts = cloneResults(f.Inputs), cloneResults(f.Mounts)
	return &c
}

// Release gives the holds up.
func (f *Failure) Release(ctx context.Context) error {
	var errs []error
	for _, list := range [][]Result{f.Inputs, f.Mounts} {
		for _, r := range list {
			if r != nil {
				errs = append(errs, r.Release(ctx))
			}
		}
	}
	return errors.Join(errs...)
}

func cloneResults(in []Result) []Result {
	out := make([]Result, len(in))
	for i, r := range in {
		if r != nil {
			out[i] = r.Clone()
		}
	}
	return out
}

// FailureKeeper is an ability that an Env may have: some of the builds that
// want the step let somebody look into it if it fails.
type FailureKeeper interface {
	// WantsFailure reports whether any build wants what is left. It is asked
	// before anything is kept for it.
	WantsFailure() bool
	// KeepFailure takes what is left over. It is called before Run returns its
	// error.
	KeepFailure(ctx context.Context, f *Failure)
}

// KeepFailure hands over what collect returns, if env wants it and the step was
// not merely cancelled.
func KeepFailure(ctx context.Context, env Env, collect func(ctx context.Context) *Failure) {
	k, ok := env.(FailureKeeper)
	if !ok || ctx.Err() != nil || !k.WantsFailure() {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if f := collect(ctx); f != nil {
		k.KeepFailure(ctx, f)
	}
}
