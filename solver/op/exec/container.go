package exec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// ContainerSpec is a container that is no step: somebody starts processes in
// it as they like, and nothing of it becomes a layer.
type ContainerSpec struct {
	// Name is shown in listings.
	Name string
	// Mounts are those of a step; an Input counts in Inputs. Outputs are left
	// out of account.
	Mounts []*pb.Mount
	// Inputs stay the caller's.
	Inputs  []solver.Result
	Network pb.NetMode
	// Proxy, if not nil, puts the processes behind the recording proxy.
	Proxy      *executor.Proxy
	Hostname   string
	ExtraHosts []*pb.HostIP
	// Files are added read-only, in memory.
	Files    []executor.File
	Platform ocispecs.Platform
}

// Process is a process in a Container.
type Process struct {
	executor.Process
	// Insecure lifts the confinement of the container if this is its first
	// process; the caller has checked the entitlement. Later ones are confined
	// like the first.
	Insecure bool
	// SecretEnv are secrets of the client as variables.
	SecretEnv []*pb.SecretEnv
}

// Container is a container made by Open. Its methods may be called at the same
// time.
type Container struct {
	id    string
	setup *setup
	spec  ContainerSpec
	// held are the container's own holds on its inputs.
	held []solver.Result

	// started is closed when the first process runs, ended when it does not
	// any more.
	started, ended chan struct{}

	mu    sync.Mutex
	first bool
}

// Open mounts what a container is made of. env gives the sessions that secrets
// come from. What clients forward ends with ctx. Close must be called.
func Open(ctx context.Context, cfg Config, env solver.Env, spec ContainerSpec) (_ *Container, err error) {
	op := &pb.ExecOp{Meta: &pb.Meta{}, Network: spec.Network}
	for _, m := range spec.Mounts {
		if m.GetDest() == rootDest && m.GetMountType() != pb.MountType_BIND {
			return nil, fmt.Errorf("invalid mount type %s for %s: %w", m.GetMountType(), m.GetDest(), errdefs.ErrInvalidArgument)
		}
		op.Mounts = append(op.Mounts, &pb.Mount{
			Input: m.GetInput(), Selector: m.GetSelector(), Dest: m.GetDest(), Output: noOutput, Readonly: m.GetReadonly(),
			MountType: m.GetMountType(), CacheOpt: m.GetCacheOpt(), SecretOpt: m.GetSecretOpt(), SSHOpt: m.GetSSHOpt(),
			TmpfsOpt: m.GetTmpfsOpt(),
		})
	}
	o, err := New(cfg, Vertex{Op: op, Inputs: len(spec.Inputs), Platform: spec.Platform, Name: spec.Name})
	if err != nil {
		return nil, err
	}
	c := &Container{id: strings.ToLower(rand.Text()), spec: spec, started: make(chan struct{}), ended: make(chan struct{})}
	for _, in := range spec.Inputs {
		if in != nil {
			in = in.Clone()
		}
		c.held = append(c.held, in)
	}
	c.setup = newSetup(o, env, c.held)
	c.setup.browsed = true
	err = c.setup.prepare(ctx)
	for _, f := range spec.Files {
		if err == nil {
			err = c.setup.file(f)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// Close unmounts everything. No process may run any more.
func (c *Container) Close(ctx context.Context) error {
	return errors.Join(c.setup.close(ctx), releaseAll(ctx, c.held))
}

// Run runs a process to its end: the first one makes the container, and its
// end kills the others. started is closed when the process is about to run. A
// process that exits with another code than 0 gives *solver.ExitError.
func (c *Container) Run(ctx context.Context, p Process, started chan<- struct{}) error {
	if err := c.complete(ctx, &p); err != nil {
		return errors.Join(err, closeStreams(&p.Process))
	}
	c.mu.Lock()
	first := !c.first
	c.first = true
	c.mu.Unlock()
	if !first {
		return c.join(ctx, p.Process, started)
	}
	defer close(c.ended)
	running := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		select {
		case <-running:
			close(c.started)
			close(started)
		case <-c.ended:
		}
	}()
	definition := c.container(p)
	c.setup.op.cfg.Tracing.trace(ctx, &definition)
	err := c.setup.op.cfg.Executor.Run(ctx, c.id, definition, running)
	select {
	case <-running:
		<-passed
	default:
	}
	return err
}

// join runs a further process once there is a container.
func (c *Container) join(ctx context.Context, p executor.Process, started chan<- struct{}) error {
	select {
	case <-c.started:
	case <-c.ended:
		return errors.Join(fmt.Errorf("the container has ended: %w", errdefs.ErrFailedPrecondition), closeStreams(&p))
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), closeStreams(&p))
	}
	close(started)
	return c.setup.op.cfg.Executor.Exec(ctx, c.id, p)
}

// container is the definition that the first process gives the container.
func (c *Container) container(p Process) executor.Container {
	out := executor.Container{
		Root: c.setup.root, Mounts: c.setup.mounts, Process: p.Process, Hostname: c.spec.Hostname,
		Network: network(c.spec.Network), Proxy: c.spec.Proxy, Insecure: p.Insecure,
	}
	if c.spec.Platform.OS == "linux" {
		out.Platform = &c.spec.Platform
	}
	for _, h := range c.spec.ExtraHosts {
		out.ExtraHosts = append(out.ExtraHosts, executor.HostIP{Host: h.GetHost(), IP: h.GetIP()})
	}
	return out
}

// windowsPath is the PATH of processes for another system, which run under
// something that gives it a meaning.
const windowsPath = `PATH=c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0`

// complete fills in what a process needs and did not say.
func (c *Container) complete(ctx context.Context, p *Process) error {
	p.Env = slices.Clone(p.Env)
	add := func(variable string) {
		name, _, _ := strings.Cut(variable, "=")
		if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			p.Env = append(p.Env, variable)
		}
	}
	if c.spec.Platform.OS == "windows" {
		add(windowsPath)
	} else {
		add(defaultPath)
	}
	if p.Tty {
		add("TERM=xterm")
	}
	for _, s := range p.SecretEnv {
		if s.GetID() == "" {
			return fmt.Errorf("secret ID missing for %q environment variable: %w", s.GetName(), errdefs.ErrInvalidArgument)
		}
	}
	secrets, err := c.setup.op.secretEnv(ctx, c.setup.env, p.SecretEnv)
	p.Env = append(p.Env, secrets...)
	return err
}

// closeStreams closes the streams of a process that is not started.
func closeStreams(p *executor.Process) error {
	var errs []error
	if p.Stdin != nil {
		errs = append(errs, p.Stdin.Close())
	}
	if p.Stdout != nil {
		errs = append(errs, p.Stdout.Close())
	}
	if p.Stderr != nil {
		errs = append(errs, p.Stderr.Close())
	}
	return errors.Join(errs...)
}

// files calls fn with the file system of a mount, selectors left aside.
func (c *Container) files(ctx context.Context, index int, fn func(f ref.Files) error) (err error) {
	mounts := c.setup.op.op.GetMounts()
	if index < 0 || index >= len(mounts) {
		return fmt.Errorf("mount index %d is out of bounds (%d available): %w", index, len(mounts), errdefs.ErrInvalidArgument)
	}
	m := mounts[index]
	var dir string
	var release func() error
	if a := c.setup.actives[m]; a != nil {
		dir, release, err = a.Dir(ctx)
	} else if m.GetMountType() == pb.MountType_BIND {
		var r *ref.Ref
		if r, _, err = c.setup.input(m); err == nil {
			dir, release, err = r.Dir(ctx)
		}
	} else {
		err = fmt.Errorf("mount %d is a %s and cannot be looked into: %w", index, m.GetMountType(), errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return fn(ref.FilesIn(dir))
}

// ReadFile reads a file of a mount, see ref.Files.
func (c *Container) ReadFile(ctx context.Context, mount int, path string, offset, length int64) (data []byte, err error) {
	err = c.files(ctx, mount, func(f ref.Files) error {
		data, err = f.ReadFile(path, offset, length)
		return err
	})
	return data, err
}

// ReadDir lists a directory of a mount, see ref.Files.
func (c *Container) ReadDir(ctx context.Context, mount int, path, pattern string) (list []*fsutil.Stat, err error) {
	err = c.files(ctx, mount, func(f ref.Files) error {
		list, err = f.ReadDir(path, pattern)
		return err
	})
	return list, err
}

// StatFile describes a file of a mount, see ref.Files.
func (c *Container) StatFile(ctx context.Context, mount int, path string) (st *fsutil.Stat, err error) {
	err = c.files(ctx, mount, func(f ref.Files) error {
		st, err = f.Stat(path)
		return err
	})
	return st, err
}
