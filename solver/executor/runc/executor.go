package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	gorunc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor"
)

// Config is what the executor needs.
type Config struct {
	// Root is a directory of the executor's own, for bundles and runtime
	// state.
	Root string
	// Runtime is the runtime's path or name; empty picks the first found of
	// buildkit-runc, runc and crun.
	Runtime string
	// Networks gives containers their sandbox networks. If nil, that is the
	// daemon's own.
	Networks executor.Networks
	// Proxies gives containers networks behind the recording proxy. If nil,
	// those that want one are refused.
	Proxies executor.Proxies
	// DNS replaces what the host's resolv.conf says.
	DNS DNS
	// CgroupParent is used where a container names none. One of the form
	// "NAME.slice:PREFIX:" has systemd make the cgroups, in that slice.
	CgroupParent string
	// Devices, optional, adds devices to containers that ask for them.
	Devices Devices
	// Emulators, optional, runs programs of other platforms. Without it they
	// are started like others.
	Emulators Emulators
	// Rootless says that the daemon is root in a user namespace only:
	// containers get no cgroups, and no limits.
	Rootless bool
	// NoProcessSandbox leaves containers in the daemon's process namespace, for
	// a rootless daemon that is in a container itself.
	NoProcessSandbox bool
	// Mount, optional, mounts on an existing directory or file. The default is
	// mount.All, which is slow for long chains of layers, and fails for very
	// long ones.
	Mount func(mounts []mount.Mount, target string) error
}

// Devices has the devices of this machine.
type Devices interface {
	// Inject changes a configuration so that the container has the devices.
	// The error is errdefs NotFound if one that is not optional is not there.
	Inject(spec *specs.Spec, requests []executor.Device) error
}

// DNS is the content of resolv.conf; empty fields are taken from the host.
type DNS struct {
	Nameservers, Search, Options []string
}

// runtimes are tried in order.
var runtimes = []string{"buildkit-runc", "runc", "crun"}

// ErrNoRuntime says that no OCI runtime is installed, and how to get one.
var ErrNoRuntime = errors.New("no OCI runtime found in PATH (looked for buildkit-runc, runc and crun): " +
	"install one, for example with \"apt-get install runc\" or \"dnf install runc\", or name its path in the configuration (worker.oci.binary)")

// Executor runs containers.
type Executor struct {
	cfg     Config
	runtime *gorunc.Runc

	mu      sync.Mutex
	running map[string]*container
}

// New finds the runtime and removes what an earlier process left.
func New(ctx context.Context, cfg Config) (*Executor, error) {
	path, err := findRuntime(cfg.Runtime)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Root, 0o711); err != nil {
		return nil, fmt.Errorf("create executor directory: %w", err)
	}
	if cfg.Mount == nil {
		cfg.Mount = func(mounts []mount.Mount, target string) error { return mount.All(mounts, target) }
	}
	e := &Executor{
		cfg: cfg, running: map[string]*container{},
		runtime: &gorunc.Runc{
			Command: path, Root: filepath.Join(cfg.Root, "state"), LogFormat: gorunc.JSON,
			PdeathSignal: unix.SIGKILL, Setpgid: true, SystemdCgroup: bySystemd(cfg.CgroupParent),
		},
	}
	if cfg.Rootless {
		// Left to itself, the runtime asks the variable USER.
		e.runtime.Rootless = &cfg.Rootless
	}
	if filepath.Base(path) == "crun" && hybridCgroups() {
		if e.runtime.Command, err = wrapCrun(cfg.Root, path); err != nil {
			return nil, err
		}
	}
	if err := e.sweep(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

func findRuntime(name string) (string, error) {
	if name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("OCI runtime %q: %w", name, err)
		}
		return path, nil
	}
	for _, r := range runtimes {
		if path, err := exec.LookPath(r); err == nil {
			return path, nil
		}
	}
	return "", ErrNoRuntime
}

// Runtime returns the runtime's path.
func (e *Executor) Runtime() string { return e.runtime.Command }

// container is one container while it runs.
type container struct {
	bundle  *bundle
	started chan struct{}
	ended   chan struct{}
	joins   joins
}

// Run runs a container to its end.
func (e *Executor) Run(ctx context.Context, id string, c executor.Container, started chan<- struct{}) (err error) {
	if err := checkID(id); err != nil {
		return err
	}
	ct := &container{started: make(chan struct{}), ended: make(chan struct{})}
	e.mu.Lock()
	if e.running[id] != nil {
		e.mu.Unlock()
		return fmt.Errorf("container %s: %w", id, errdefs.ErrAlreadyExists)
	}
	e.running[id] = ct
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.running, id)
		e.mu.Unlock()
		close(ct.ended)
	}()
	b, err := e.prepare(ctx, id, &c)
	if err != nil {
		return errors.Join(err, closeIO(&c.Process))
	}
	ct.bundle = b
	defer func() { err = errors.Join(err, b.remove()) }()
	return e.runBundle(ctx, ct, &c, started)
}

// checkID refuses ids that are more than a name: they become paths.
func checkID(id string) error {
	if id == "" || id != filepath.Base(id) || id == "." || id == ".." || len(id) > 128 {
		return fmt.Errorf("container id %q: %w", id, errdefs.ErrInvalidArgument)
	}
	return nil
}

// killWait is how long a killed container may take to end before it is killed
// again.
const killWait = 5 * time.Second

// runBundle starts the runtime and waits for it, killing the container when
// ctx ends.
func (e *Executor) runBundle(ctx context.Context, ct *container, c *executor.Container, started chan<- struct{}) error {
	stdio, err := newStdio(&c.Process)
	if err != nil {
		return err
	}
	defer func() { _ = stdio.Close() }()
	pid := make(chan int, 1)
	opts := &gorunc.CreateOpts{IO: stdio, NoNewKeyring: true, Started: pid}
	done := make(chan struct{})
	if e.cfg.NoProcessSandbox {
		opts.PidFile = filepath.Join(ct.bundle.dir, "pid")
		go e.followFirst(ct.bundle, opts.PidFile, done)
	}
	if started != nil {
		// Somebody will want to join the container, which is there when its
		// process has a number.
		opts.PidFile = filepath.Join(ct.bundle.dir, "pid")
		go func() {
			if awaitFile(opts.PidFile, done) {
				close(ct.started)
				close(started)
			}
		}()
	}
	go func() {
		runtime, ok := <-pid
		if !ok {
			return
		}
		stdio.started(runtime)
		bg := context.WithoutCancel(ctx)
		attend(ctx, &c.Process, stdio, handle{
			signal: func(number int) { _ = e.runtime.Kill(bg, ct.bundle.id, number, nil) },
			kill: func() {
				ct.joins.stop(killWait, done)
				e.kill(bg, ct.bundle.id, done)
			},
		}, done)
	}()
	rt := *e.runtime
	rt.Log = ct.bundle.log()
	// The runtime itself must not be killed with ctx: it cleans up.
	status, err := rt.Run(context.WithoutCancel(ctx), ct.bundle.id, ct.bundle.dir, opts)
	close(done)
	err = errors.Join(err, e.killStrays(ct.bundle))
	stdio.drain()
	return e.verdict(ctx, ct.bundle, &c.Process, status, err)
}

// handle is how a running process is reached.
type handle struct {
	signal func(number int)
	// kill ends the process for sure; it may take until done.
	kill func()
}

// attend passes on sizes and signals, and kills the process when ctx ends.
func attend(ctx context.Context, p *executor.Process, stdio *stdio, h handle, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case size, ok := <-p.Resize:
			if !ok {
				p.Resize = nil
				continue
			}
			stdio.resize(size)
		case number, ok := <-p.Signal:
			if !ok {
				p.Signal = nil
				continue
			}
			h.signal(number)
		case <-ctx.Done():
			h.kill()
			return
		}
	}
}

// kill kills until the container has ended. The first tries may come before
// the container exists.
func (e *Executor) kill(ctx context.Context, id string, done <-chan struct{}) {
	wait := 20 * time.Millisecond
	for {
		_ = e.runtime.Kill(ctx, id, int(unix.SIGKILL), nil)
		select {
		case <-done:
			return
		case <-time.After(wait):
			wait = min(wait*2, killWait)
		}
	}
}

// writeConfig stores the OCI configuration of a bundle.
func writeConfig(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
