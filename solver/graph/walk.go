package graph

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// nodeID is what makes two vertices one node.
type nodeID struct {
	vertex digest.Digest
	// fresh is empty, or names which vertices at and below this one are to be
	// run whatever is stored (IgnoreCache). Builds that ask for the same share.
	fresh digest.Digest
}

// planned is a vertex of a graph that was walked.
type planned struct {
	id     nodeID
	vertex *solver.Vertex
	inputs []nodeID
}

// walk lists the vertices of the graph under top, inputs before dependents and
// each once. It uses no recursion: graphs may be deep.
func walk(top *solver.Vertex) ([]planned, error) {
	type frame struct {
		vertex *solver.Vertex
		next   int
	}
	w := walker{ids: map[*solver.Vertex]nodeID{}, seen: map[nodeID]struct{}{}}
	open := map[*solver.Vertex]struct{}{top: {}}
	stack := []frame{{vertex: top}}
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		if f.next == len(f.vertex.Inputs) {
			w.add(f.vertex)
			delete(open, f.vertex)
			stack = stack[:len(stack)-1]
			continue
		}
		in := f.vertex.Inputs[f.next].Vertex
		if in == nil {
			return nil, fmt.Errorf("input %d of vertex %s (%s) is missing", f.next, f.vertex.Digest, f.vertex.Name)
		}
		f.next++
		if _, ok := w.ids[in]; ok {
			continue
		}
		if _, ok := open[in]; ok {
			return nil, fmt.Errorf("vertex %s (%s): %w", in.Digest, in.Name, ErrCycle)
		}
		open[in] = struct{}{}
		stack = append(stack, frame{vertex: in})
	}
	return w.plan, nil
}

type walker struct {
	ids  map[*solver.Vertex]nodeID
	seen map[nodeID]struct{}
	plan []planned
}

func (w *walker) add(v *solver.Vertex) {
	p := planned{id: nodeID{vertex: v.Digest}, vertex: v}
	fresh := ""
	for i, in := range v.Inputs {
		id := w.ids[in.Vertex]
		p.inputs = append(p.inputs, id)
		if id.fresh != "" {
			fresh += fmt.Sprintf("|%d:%s", i, id.fresh)
		}
	}
	if v.Options.IgnoreCache {
		fresh += "|self"
	}
	if fresh != "" {
		p.id.fresh = digest.FromString(v.Digest.String() + fresh)
	}
	w.ids[v] = p.id
	if _, ok := w.seen[p.id]; !ok {
		w.seen[p.id] = struct{}{}
		w.plan = append(w.plan, p)
	}
}
