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
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
)

// Places and numbers with a meaning in mounts.
const (
	rootDest = "/"
	noOutput = int64(-1)
	noInput  = int64(-1)
)

// defaultPath is the PATH of processes that set none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Config is what exec ops share.
type Config struct {
	Executor executor.Executor
	Refs     *ref.Store
	Sessions *session.Manager
	// Slots bounds how many processes run at once; nil for no bound.
	Slots Slots
	// Logs bounds output.
	Logs progress.LogLimits
	// SecretDir is a directory in memory, for secret files while they are
	// mounted.
	SecretDir string
	// Tracing lets steps take part in traces; nil for not at all.
	Tracing *Tracing
}

// Slots are what a step takes one of while it runs; others may share them.
type Slots interface {
	// Acquire waits for n slots, or returns an error when ctx ends.
	Acquire(ctx context.Context, n int64) error
	// Release gives n slots back.
	Release(n int64)
}

// Op is an exec op.
type Op struct {
	cfg      Config
	op       *pb.ExecOp
	inputs   int
	outputs  int
	platform ocispecs.Platform
	name     string
	proxy    bool
	gate     executor.Gate

	mu        sync.Mutex
	resources *executor.Resources // guarded by mu
}

// Vertex is what New needs to know of a vertex.
type Vertex struct {
	Op       *pb.ExecOp
	Inputs   int
	Outputs  int
	Platform ocispecs.Platform
	Metadata *pb.OpMetadata
	Name     string
	// Proxy puts the process behind the recording proxy, where Gate, if not
	// nil, decides about its requests.
	Proxy bool
	Gate  executor.Gate
}

// New returns the op of a verified vertex. What this builder cannot do is
// refused here, before anything runs.
func New(cfg Config, v Vertex) (*Op, error) {
	o := &Op{
		cfg: cfg, op: v.Op, inputs: v.Inputs, outputs: v.Outputs, platform: v.Platform, name: v.Name,
		proxy: v.Proxy, gate: v.Gate,
		resources: resources(v.Metadata.GetLinuxResources()),
	}
	for _, m := range v.Op.GetMounts() {
		if m.GetInput() < noInput || m.GetInput() >= int64(v.Inputs) {
			return nil, fmt.Errorf("exec op: mount %s has input %d of %d: %w", m.GetDest(), m.GetInput(), v.Inputs, errdefs.ErrInvalidArgument)
		}
	}
	return o, nil
}

func hasInput(m *pb.Mount) bool {
	switch m.GetMountType() {
	case pb.MountType_SECRET, pb.MountType_SSH, pb.MountType_TMPFS:
		return false
	}
	return m.GetInput() != noInput
}

// Run runs the process and commits what it wrote.
func (o *Op) Run(ctx context.Context, env solver.Env, inputs []solver.Result) (out []solver.Result, err error) {
	if o.cfg.Slots != nil {
		if err := o.cfg.Slots.Acquire(ctx, 1); err != nil {
			return nil, context.Cause(ctx)
		}
		defer o.cfg.Slots.Release(1)
	}
	s := newSetup(o, env, inputs)
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	err = s.prepare(ctx)
	if err == nil {
		err = o.process(ctx, env, s)
	}
	if err != nil {
		solver.KeepFailure(ctx, env, s.remains)
		return nil, err
	}
	return s.commit(ctx)
}

// process runs the container to its end.
func (o *Op) process(ctx context.Context, env solver.Env, s *setup) error {
	meta := o.op.GetMeta()
	environ, err := o.environ(ctx, env)
	if err != nil {
		return err
	}
	stdout := progress.NewLogWriter(env, solver.Stdout, o.cfg.Logs, nil)
	stderr := progress.NewLogWriter(env, solver.Stderr, o.cfg.Logs, nil)
	c := executor.Container{
		Root: s.root, Mounts: s.mounts, Hostname: meta.GetHostname(), Network: network(o.op.GetNetwork()),
		Insecure: o.op.GetSecurity() == pb.SecurityMode_INSECURE, CgroupParent: meta.GetCgroupParent(),
		RemoveStubParents: meta.GetRemoveMountStubsRecursive(),
		Resources:         o.limits(), Platform: &o.platform,
		Process: executor.Process{
			Args: meta.GetArgs(), Env: environ, Cwd: meta.GetCwd(), User: meta.GetUser(),
			Stdout: logCloser{stdout}, Stderr: logCloser{stderr},
		},
	}
	for _, h := range meta.GetExtraHosts() {
		c.ExtraHosts = append(c.ExtraHosts, executor.HostIP{Host: h.GetHost(), IP: h.GetIP()})
	}
	for _, u := range meta.GetUlimit() {
		c.Ulimits = append(c.Ulimits, executor.Ulimit{Name: u.GetName(), Soft: u.GetSoft(), Hard: u.GetHard()})
	}
	for _, d := range o.op.GetCdiDevices() {
		c.Devices = append(c.Devices, executor.Device{Name: d.GetName(), Optional: d.GetOptional()})
	}
	for _, code := range meta.GetValidExitCodes() {
		c.Process.ValidExitCodes = append(c.Process.ValidExitCodes, int(code))
	}
	c.Proxy = o.behind(env, stderr)
	o.cfg.Tracing.trace(ctx, &c)
	err = o.cfg.Executor.Run(ctx, strings.ToLower(rand.Text()), c, nil)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil {
		stdout.Flush()
		stderr.Flush()
	}
	return o.failed(err)
}

// failed says what did not go well in the words that clients look for.
func (o *Op) failed(err error) error {
	text := fmt.Sprintf("process %q did not complete successfully", strings.Join(o.op.GetMeta().GetArgs(), " "))
	var exit *solver.ExitError
	if errors.As(err, &exit) {
		return &solver.ExitError{Code: exit.Code, Err: fmt.Errorf("%s: %w", text, exit.Err)}
	}
	return fmt.Errorf("%s: %w", text, err)
}

func network(m pb.NetMode) executor.NetworkMode {
	switch m {
	case pb.NetMode_HOST:
		return executor.NetworkHost
	case pb.NetMode_NONE:
		return executor.NetworkNone
	}
	return executor.NetworkSandbox
}

// environ is the process's environment: the op's, proxies, secrets, PATH.
func (o *Op) environ(ctx context.Context, env solver.Env) ([]string, error) {
	out := slices.Clone(o.op.GetMeta().GetEnv())
	p := o.op.GetMeta().GetProxyEnv()
	for _, v := range []struct{ name, value string }{
		{"HTTP_PROXY", p.GetHttpProxy()},
		{"HTTPS_PROXY", p.GetHttpsProxy()},
		{"FTP_PROXY", p.GetFtpProxy()},
		{"NO_PROXY", p.GetNoProxy()},
		{"ALL_PROXY", p.GetAllProxy()},
	} {
		if v.value != "" {
			out = append(out, v.name+"="+v.value, strings.ToLower(v.name)+"="+v.value)
		}
	}
	secrets, err := o.secretEnv(ctx, env, o.op.GetSecretenv())
	if err != nil {
		return nil, err
	}
	out = append(out, secrets...)
	if !slices.ContainsFunc(out, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		out = append(out, defaultPath)
	}
	return out, nil
}

// logCloser makes a log writer closable; what it still holds is written by
// Flush when the process fails.
type logCloser struct{ *progress.LogWriter }

// Close does nothing.
func (logCloser) Close() error { return nil }
