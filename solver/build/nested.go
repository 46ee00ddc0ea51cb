package build

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/graph"
	"github.com/kilnbuild/kiln/solver/llb"
	opbuild "github.com/kilnbuild/kiln/solver/op/build"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// maxNestedBuilds bounds the graphs that build ops of one build may solve.
const maxNestedBuilds = 1000

// newOp makes the op of a vertex. Build ops are made here, for they start
// builds.
func (j *job) newOp(ctx context.Context, v *llb.Vertex, gate executor.Gate, depth int) (solver.Op, error) {
	if op := v.Op.GetBuild(); op != nil {
		return opbuild.New(op, len(v.Inputs), depth, j.nested(depth+1))
	}
	return j.builder.cfg.NewOp(ctx, v, gate)
}

// nested returns what solves the graphs of build ops. They are solved by the
// rules of j, whose op it is, but for whoever wants the op's result: j may end
// while others wait.
func (j *job) nested(depth int) opbuild.Solve {
	return func(ctx context.Context, env solver.Env, def *pb.Definition) (solver.Result, error) {
		if j.nestings.Add(1) > maxNestedBuilds {
			return nil, fmt.Errorf("more than %d builds are nested in one: %w", maxNestedBuilds, errdefs.ErrResourceExhausted)
		}
		g, err := j.loadAt(ctx, def, depth)
		if err != nil {
			return nil, fmt.Errorf("failed to load LLB: %w", err)
		}
		if g == nil {
			return nil, nil
		}
		sub, err := j.builder.cfg.Graph.NewJob("nested-"+rand.Text(), graph.JobConfig{Sessions: env.Sessions, Sink: env.Emit})
		if err != nil {
			return nil, err
		}
		defer sub.Close(context.WithoutCancel(ctx))
		built, err := sub.Build(ctx, g.edge)
		if err != nil {
			return nil, g.sourced(err)
		}
		return built.Result, nil
	}
}

// naming gives vertices the digests they are known by. What depends on a build
// op is named by its depth too: vertices of equal digests share one node and
// wait for each other, and a graph must never wait for the build op that it
// came from (see package op/build).
type naming struct {
	depth   int
	changed map[*llb.Vertex]digest.Digest
	// original has the digests in the graph, by those that were made here.
	original map[digest.Digest]digest.Digest
}

func newNaming(depth int) *naming {
	return &naming{depth: depth, changed: map[*llb.Vertex]digest.Digest{}, original: map[digest.Digest]digest.Digest{}}
}

// digest names a vertex whose inputs were named before.
func (n *naming) digest(v *llb.Vertex) digest.Digest {
	if n.depth == 0 {
		return v.Digest
	}
	touched := v.Op.GetBuild() != nil
	for _, in := range v.Inputs {
		touched = touched || n.changed[in.Vertex] != ""
	}
	if !touched {
		return v.Digest
	}
	d := digest.FromString(fmt.Sprintf("nested %d %s", n.depth, v.Digest))
	n.changed[v], n.original[d] = d, v.Digest
	return d
}

// sourced adds the places in source texts that a failed vertex comes from.
func (l *loaded) sourced(err error) error {
	var failed *solver.VertexError
	if !errors.As(err, &failed) {
		return err
	}
	dgst := failed.Digest
	if o, ok := l.names.original[dgst]; ok {
		dgst = o
	}
	return sourcedAt(l.llb, dgst, err)
}
