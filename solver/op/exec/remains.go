package exec

import (
	"context"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// remains collects what a failed run leaves, by mount: what the mounts showed
// at the start, and what the process made of them. A layer that cannot be
// committed shows what it started from.
func (s *setup) remains(ctx context.Context) *solver.Failure {
	mounts := s.op.op.GetMounts()
	f := &solver.Failure{
		Inputs: make([]solver.Result, len(mounts)), Mounts: make([]solver.Result, len(mounts)), Action: -1, Content: -1,
	}
	for i, m := range mounts {
		if !hasInput(m) {
			continue
		}
		if in := s.inputs[m.GetInput()]; in != nil {
			f.Inputs[i], f.Mounts[i] = in.Clone(), in.Clone()
		}
	}
	for i, m := range mounts {
		a := s.actives[m]
		if a == nil || m.GetMountType() == pb.MountType_CACHE {
			continue
		}
		made, err := a.Commit(ctx)
		if err != nil {
			log.G(ctx).WithError(err).Warn("keep what a failed step wrote")
			continue
		}
		if old := f.Mounts[i]; old != nil {
			_ = old.Release(ctx)
		}
		f.Mounts[i] = made
	}
	return f
}
