package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// caches returns the caches of the jobs that want this node, those of the job
// that asks first.
func (n *node) caches(ctx context.Context) []solver.Cache {
	asking := originOf(ctx).job
	var out []solver.Cache
	add := func(j *Job) {
		for _, c := range j.caches() {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	jobs := n.interested()
	if slices.Contains(jobs, asking) {
		add(asking)
	}
	for _, j := range jobs {
		if j != asking {
			add(j)
		}
	}
	return out
}

// findElsewhere looks a key up in the caches of jobs; one that cannot answer
// has no record.
func (n *node) findElsewhere(ctx context.Context, key *solver.Key) (*solver.Record, error) {
	for _, c := range n.caches(ctx) {
		rec, err := c.Lookup(ctx, key)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			n.solver.fault(fmt.Errorf("look up imported cache record of %q: %w", n.vertex.Name, err))
			continue
		}
		if rec != nil {
			found := *rec
			found.From = c
			return &found, nil
		}
	}
	return nil, nil
}

// foretold reports whether a cache of a job has results of an op, so that its
// inputs are probably not needed.
func (n *node) foretold(ctx context.Context, op digest.Digest) bool {
	for _, c := range n.caches(ctx) {
		if f, ok := c.(Foreteller); ok && f.Foretells(ctx, op) {
			return true
		}
	}
	return false
}

// recognized reports whether a cache of a job knows of the value of a key.
func (n *node) recognized(ctx context.Context, key *solver.Key) bool {
	for _, c := range n.caches(ctx) {
		if f, ok := c.(Foreteller); ok && f.Recognizes(ctx, key) {
			return true
		}
	}
	return false
}
