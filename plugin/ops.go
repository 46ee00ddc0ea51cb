package plugin

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/op/diff"
	"github.com/kilnbuild/kiln/solver/op/exec"
	"github.com/kilnbuild/kiln/solver/op/file"
	"github.com/kilnbuild/kiln/solver/op/merge"
	"github.com/kilnbuild/kiln/solver/op/passthrough"
	opsource "github.com/kilnbuild/kiln/solver/op/source"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/source"
)

// ops makes the op of each vertex.
type ops struct {
	refs    *ref.Store
	sources *source.Registry
	exec    exec.Config
}

// new is a build.OpFactory.
func (o *ops) new(ctx context.Context, v *llb.Vertex, gate executor.Gate) (solver.Op, error) {
	n := len(v.Inputs)
	switch op := v.Op.GetOp().(type) {
	case *pb.Op_Source:
		return opsource.New(ctx, o.sources, op.Source, &v.Platform)
	case *pb.Op_Exec:
		if v.Metadata.GetIgnoreCache() {
			if err := exec.ForgetCaches(ctx, o.refs, op.Exec); err != nil {
				return nil, err
			}
		}
		return exec.New(o.exec, exec.Vertex{
			Op: op.Exec, Inputs: n, Outputs: v.Outputs, Platform: v.Platform, Metadata: v.Metadata, Name: v.Name,
			Proxy: v.ProxyNetwork, Gate: gate,
		})
	case *pb.Op_File:
		return file.New(file.Config{Refs: o.refs, Slots: o.exec.Slots}, op.File, n, v.Name)
	case *pb.Op_Merge:
		return merge.New(o.refs, op.Merge, n, v.Name)
	case *pb.Op_Passthrough:
		return passthrough.New(op.Passthrough, n)
	case *pb.Op_Diff:
		return diff.New(o.refs, op.Diff, n, v.Name)
	}
	return nil, fmt.Errorf("this builder has no op %T: %w", v.Op.GetOp(), errdefs.ErrNotImplemented)
}
