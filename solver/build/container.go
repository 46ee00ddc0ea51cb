package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// ContainerSpec is a container for a frontend, with what it is made of.
type ContainerSpec struct {
	Name string
	// Mounts have inputs that count in Inputs, which stay the caller's.
	Mounts     []*pb.Mount
	Inputs     []solver.Result
	Network    pb.NetMode
	Proxy      *executor.Proxy
	Hostname   string
	ExtraHosts []*pb.HostIP
	// Files are added read-only.
	Files    []executor.File
	Platform ocispecs.Platform
}

// ContainerFactory makes containers that are no step of a graph.
type ContainerFactory func(ctx context.Context, env solver.Env, spec ContainerSpec) (gateway.Container, error)

// NewContainer solves what the mounts show and makes the container. The bridge
// implements gateway.Containers.
func (b *bridge) NewContainer(ctx context.Context, req gateway.ContainerSpec) (_ gateway.Container, err error) {
	j := b.job
	spec := ContainerSpec{
		Name: req.Name, Network: req.Network, Hostname: req.Hostname, ExtraHosts: req.ExtraHosts, Files: req.Files, Platform: j.builder.platform(),
	}
	if j.proxied() {
		gate, err := j.gate(nil)
		if err != nil {
			return nil, err
		}
		spec.Proxy = &executor.Proxy{Gate: gate}
	}
	if p := req.Platform; p != nil {
		spec.Platform = platforms.Normalize(ocispecs.Platform{
			OS: p.GetOS(), Architecture: p.GetArchitecture(), Variant: p.GetVariant(),
			OSVersion: p.GetOSVersion(), OSFeatures: p.GetOSFeatures(),
		})
	}
	defer func() {
		for _, in := range spec.Inputs {
			err = errors.Join(err, in.Release(context.WithoutCancel(ctx)))
		}
	}()
	for _, m := range req.Mounts {
		out := &pb.Mount{
			Input: -1, Output: -1, Selector: m.GetSelector(), Dest: m.GetDest(), Readonly: m.GetReadonly(), MountType: m.GetMountType(),
			CacheOpt: m.GetCacheOpt(), SecretOpt: m.GetSecretOpt(), SSHOpt: m.GetSSHOpt(), TmpfsOpt: m.GetTmpfsOpt(),
		}
		held, err := hold(ctx, m.Ref)
		if err != nil {
			return nil, err
		}
		if held != nil {
			out.Input = int64(len(spec.Inputs))
			spec.Inputs = append(spec.Inputs, held)
		}
		spec.Mounts = append(spec.Mounts, out)
	}
	c, err := j.builder.cfg.NewContainer(ctx, &inlineEnv{job: j, vertex: digest.FromString(j.id + req.Name)}, spec)
	if err != nil {
		return nil, err
	}
	return &admitted{Container: c, job: j, network: req.Network}, nil
}

// admitted is a container whose processes are held to the entitlements of the
// build.
type admitted struct {
	gateway.Container
	job     *job
	network pb.NetMode
}

// Run runs the process if it may run.
func (a *admitted) Run(ctx context.Context, p gateway.Process, started chan<- struct{}) error {
	err := a.job.admitProcess(a.network, p.Security)
	if err == nil {
		return a.Container.Run(ctx, p, started)
	}
	if p.Stdin != nil {
		err = errors.Join(err, p.Stdin.Close())
	}
	if p.Stdout != nil {
		err = errors.Join(err, p.Stdout.Close())
	}
	if p.Stderr != nil {
		err = errors.Join(err, p.Stderr.Close())
	}
	return err
}

// admitProcess refuses a process that needs what the build was not given.
func (j *job) admitProcess(network pb.NetMode, security pb.SecurityMode) error {
	missing := ""
	switch {
	case security != pb.SecurityMode_SANDBOX && security != pb.SecurityMode_INSECURE:
		return fmt.Errorf("invalid security mode %d: %w", security, errdefs.ErrInvalidArgument)
	case network == pb.NetMode_HOST && !j.entitlements[EntitlementNetworkHost]:
		missing = EntitlementNetworkHost
	case security == pb.SecurityMode_INSECURE && !j.entitlements[EntitlementSecurityInsecure]:
		missing = EntitlementSecurityInsecure
	default:
		return nil
	}
	return fmt.Errorf("%s is not allowed: %w", missing, errdefs.ErrPermissionDenied)
}
