package graph

import (
	"context"
	"fmt"

	"github.com/kilnbuild/kiln/solver"
)

// held is one hold on the result of an output, with the keys it has really
// been made or found under.
type held struct {
	// result is nil for the empty file system.
	result solver.Result
	key    *solver.Key
	fresh  string
	// record is nil if the result could not be stored.
	record *solver.Record
	cached bool
}

func (h *held) clone() *held {
	c := *h
	if h.result != nil {
		c.result = h.result.Clone()
	}
	return &c
}

func (h *held) resultID() string {
	if h.result == nil {
		return ""
	}
	return h.result.ID()
}

// readiness is the answer of the stage "ready": all inputs, and the final name
// that follows from what they really are.
type readiness struct {
	id *identity
	// made is the name by the keys of inputs instead of their contents; nil if
	// there is none of use.
	made   *identity
	inputs []*held
}

func (r *readiness) clone() *readiness {
	return &readiness{id: r.id, made: r.made, inputs: cloneAll(r.inputs)}
}

// outcome is what an op made.
type outcome struct {
	outputs []*held
}

func (o *outcome) clone() *outcome { return &outcome{outputs: cloneAll(o.outputs)} }

func cloneAll(hs []*held) []*held {
	out := make([]*held, len(hs))
	for i, h := range hs {
		if h != nil {
			out[i] = h.clone()
		}
	}
	return out
}

func (s *Solver) drop(ctx context.Context, h *held) { s.release(ctx, h.result) }

func (s *Solver) dropAll(ctx context.Context, hs []*held) {
	for _, h := range hs {
		if h != nil {
			s.drop(ctx, h)
		}
	}
}

func (s *Solver) dropReadiness(ctx context.Context, r *readiness) { s.dropAll(ctx, r.inputs) }

func (s *Solver) dropOutcome(ctx context.Context, o *outcome) { s.dropAll(ctx, o.outputs) }

// release gives a hold up, whatever became of ctx.
func (s *Solver) release(ctx context.Context, res solver.Result) {
	if res == nil {
		return
	}
	if err := res.Release(context.WithoutCancel(ctx)); err != nil {
		s.fault(fmt.Errorf("release result %s: %w", res.ID(), err))
	}
}
