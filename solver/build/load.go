package build

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// product is named in "please update …" texts.
const product = "kiln"

// loaded is a graph ready to be solved.
type loaded struct {
	llb   *llb.Graph
	names *naming
	edge  solver.Edge
}

// load verifies a definition that came from outside and gives every vertex its
// op. It returns nil for a definition of the empty file system.
// The policies apply to its sources beside the build's.
func (j *job) load(ctx context.Context, def *pb.Definition, policies ...*spb.Policy) (*loaded, error) {
	return j.loadAt(ctx, def, 0, policies...)
}

// loadAt is load for a graph that so many build ops lead to.
func (j *job) loadAt(ctx context.Context, def *pb.Definition, depth int, policies ...*spb.Policy) (*loaded, error) {
	if len(def.GetDef()) == 0 {
		return nil, nil
	}
	rewrite, err := j.rewriter(policies)
	if err != nil {
		return nil, err
	}
	gate, err := j.gate(policies)
	if err != nil {
		return nil, err
	}
	g, err := llb.Load(ctx, def, llb.Options{
		DefaultPlatform: j.builder.platform(), Product: product, Admit: j.admit, DisabledCaps: j.builder.cfg.DisabledCaps,
		RewriteSource: j.aged(rewrite), ProxyNetwork: j.proxied(),
	})
	if err != nil {
		return nil, err
	}
	if g.Result().Vertex == nil {
		return nil, nil
	}
	made := make(map[*llb.Vertex]*solver.Vertex, g.Len())
	names := newNaming(depth)
	for v := range g.All() {
		op, err := j.newOp(ctx, v, gate, depth)
		if err != nil {
			return nil, sourced(g, &solver.VertexError{Digest: v.Digest, Name: v.Name, Err: err})
		}
		out := &solver.Vertex{Digest: names.digest(v), Name: v.Name, Op: j.watch(op, v, names), Options: v.Options()}
		for _, in := range v.Inputs {
			out.Inputs = append(out.Inputs, solver.Edge{Vertex: made[in.Vertex], Index: in.Index})
		}
		made[v] = out
		j.unexport(out)
	}
	res := g.Result()
	return &loaded{llb: g, names: names, edge: solver.Edge{Vertex: made[res.Vertex], Index: res.Index}}, nil
}

// sourced adds the places in source texts that a failed vertex comes from.
func sourced(g *llb.Graph, err error) error {
	var failed *solver.VertexError
	if !errors.As(err, &failed) {
		return err
	}
	return sourcedAt(g, failed.Digest, err)
}

// sourcedAt is sourced for a vertex that is known.
func sourcedAt(g *llb.Graph, dgst digest.Digest, err error) error {
	v := g.Lookup(dgst)
	if v == nil {
		return err
	}
	for _, s := range v.Sources {
		err = &solver.SourceError{Info: s.Info, Ranges: s.Ranges, Err: err}
	}
	return err
}
