package graph

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// ResultIDs returns the ids of the results of first outputs, by the digests of
// their vertices, as far as they are known: of what was built or loaded for the
// job, and of what was not needed because a result above it was in the cache.
// It runs nothing.
func (j *Job) ResultIDs(ctx context.Context) map[digest.Digest]string {
	j.solver.mu.Lock()
	nodes := make([]*node, 0, len(j.nodes))
	for n := range j.nodes {
		nodes = append(nodes, n)
	}
	j.solver.mu.Unlock()
	out := make(map[digest.Digest]string, len(nodes))
	for _, n := range nodes {
		if id := n.resultID(ctx); id != "" {
			out[n.vertex.Digest] = id
		}
	}
	return out
}

// resultID is the id of the first output's result; empty if it is not known or
// the empty file system.
func (n *node) resultID(ctx context.Context) string {
	n.mu.Lock()
	o := n.outputs[0]
	n.mu.Unlock()
	if o != nil {
		if _, value, err := o.value.peek(); err == nil && value != nil {
			return value.resultID()
		}
	}
	_, id, err := n.definition.peek()
	if err != nil || id == nil {
		return ""
	}
	// A cache that cannot answer knows of no result.
	rec, err := n.solver.cache.Lookup(ctx, id.key(0))
	if err != nil || rec == nil {
		return ""
	}
	return rec.ResultID
}
