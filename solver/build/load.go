package build

import (
	"context"
	"errors"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// product is named in "please update …" texts.
const product = "kiln"

// loaded is a graph ready to be solved.
type loaded struct {
	llb  *llb.Graph
	edge solver.Edge
}

// load verifies a definition and gives every vertex its op. It returns nil
// for a definition of the empty file system.
func (j *job) load(ctx context.Context, def *pb.Definition) (*loaded, error) {
	if len(def.GetDef()) == 0 {
		return nil, nil
	}
	g, err := llb.Load(ctx, def, llb.Options{
		DefaultPlatform: j.builder.platform(), Product: product, Admit: j.admit, DisabledCaps: j.builder.cfg.DisabledCaps,
	})
	if err != nil {
		return nil, err
	}
	if g.Result().Vertex == nil {
		return nil, nil
	}
	made := make(map[*llb.Vertex]*solver.Vertex, g.Len())
	for v := range g.All() {
		op, err := j.builder.cfg.NewOp(ctx, v)
		if err != nil {
			return nil, sourced(g, &solver.VertexError{Digest: v.Digest, Name: v.Name, Err: err})
		}
		out := &solver.Vertex{Digest: v.Digest, Name: v.Name, Op: op, Options: v.Options()}
		for _, in := range v.Inputs {
			out.Inputs = append(out.Inputs, solver.Edge{Vertex: made[in.Vertex], Index: in.Index})
		}
		made[v] = out
	}
	res := g.Result()
	return &loaded{llb: g, edge: solver.Edge{Vertex: made[res.Vertex], Index: res.Index}}, nil
}

// sourced adds the places in source texts that a failed vertex comes from.
func sourced(g *llb.Graph, err error) error {
	var failed *solver.VertexError
	if !errors.As(err, &failed) {
		return err
	}
	v := g.Lookup(failed.Digest)
	if v == nil {
		return err
	}
	for _, s := range v.Sources {
		err = &solver.SourceError{Info: s.Info, Ranges: s.Ranges, Err: err}
	}
	return err
}
