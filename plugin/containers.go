package plugin

import (
	"context"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	"github.com/kilnbuild/kiln/solver/op/exec"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// newContainer is a build.ContainerFactory: what frontends start is made of the
// same parts as steps are.
func (o *ops) newContainer(ctx context.Context, env solver.Env, spec build.ContainerSpec) (gateway.Container, error) {
	c, err := exec.Open(ctx, o.exec, env, exec.ContainerSpec(spec))
	if err != nil {
		return nil, err
	}
	return container{c}, nil
}

// container adapts exec.Container.
type container struct{ *exec.Container }

// Run translates the process.
func (c container) Run(ctx context.Context, p gateway.Process, started chan<- struct{}) error {
	return c.Container.Run(ctx, exec.Process{
		Process: p.Process, Insecure: p.Security == pb.SecurityMode_INSECURE, SecretEnv: p.SecretEnv,
	}, started)
}
