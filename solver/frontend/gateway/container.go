package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Bounds on what one frontend may have at a time.
const (
	maxContainers = 100
	maxMounts     = 1000
	// maxID bounds ids that frontends choose, in bytes.
	maxID = 256
)

// Containers makes containers for a frontend.
type Containers interface {
	// NewContainer mounts what a container is made of; ctx lasts as long as the
	// container. It does not look at entitlements: that is for Container.Run,
	// whose answer frontends expect.
	NewContainer(ctx context.Context, spec ContainerSpec) (Container, error)
}

// ContainerSpec is a container that a frontend wants.
type ContainerSpec struct {
	// Name is the frontend's own, for listings.
	Name   string
	Mounts []Mount
	// Network and Platform are as in LLB; a nil Platform is the native one.
	Network    pb.NetMode
	Platform   *pb.Platform
	Hostname   string
	ExtraHosts []*pb.HostIP
	// Files are added read-only.
	Files []executor.File
}

// Mount is a mount with what it shows; a nil Ref is the empty file system.
type Mount struct {
	*pb.Mount
	Ref frontend.Ref
}

// Process is a process that a frontend starts.
type Process struct {
	executor.Process
	Security  pb.SecurityMode
	SecretEnv []*pb.SecretEnv
}

// Container is a container of a frontend. All methods may be called at once,
// Close after all others returned.
type Container interface {
	// Run runs a process to its end. The first one makes the container, and its
	// end ends the others. started is closed when the process is about to run.
	// The process's streams are closed when Run returns.
	Run(ctx context.Context, p Process, started chan<- struct{}) error
	// ReadFile reads a file of the mount of that number, as frontend.Ref does.
	ReadFile(ctx context.Context, mount int, path string, offset, length int64) ([]byte, error)
	// ReadDir lists a directory of a mount.
	ReadDir(ctx context.Context, mount int, path, pattern string) ([]*fsutil.Stat, error)
	// StatFile describes a file of a mount.
	StatFile(ctx context.Context, mount int, path string) (*fsutil.Stat, error)
	// Close unmounts everything.
	Close(ctx context.Context) error
}

// container is a Container in use. Its context ends when it is released.
type container struct {
	Container
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu sync.Mutex
	// made says that the Container is there, released that it is going.
	made, released bool
	// users are the maker, processes, and calls that look into files; running
	// counts the processes.
	users   sync.WaitGroup
	running int
}

// ran counts a process in or out.
func (c *container) ran(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running += n
}

// errBroken is what a release says that ended processes. Clients look for the
// words, and for them in what the processes ended with.
var errBroken = fmt.Errorf("processes of the container were ended: %w", context.Canceled)

// use counts a user in, if there is something to use.
func (c *container) use() (done func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.made || c.released {
		return nil, false
	}
	c.users.Add(1)
	return c.users.Done, true
}

// release ends what runs in the container and unmounts it. broken says whether
// anything ran.
func (c *container) release(ctx context.Context) (broken bool, err error) {
	c.mu.Lock()
	c.released = true
	broken = c.running > 0
	c.mu.Unlock()
	c.cancel(context.Canceled)
	c.users.Wait()
	if c.Container == nil {
		return false, nil // could not be made
	}
	return broken, c.Close(context.WithoutCancel(ctx))
}

// make makes the Container, unless ctx ends meanwhile. What is made belongs to
// the container's own context. The maker was counted in by enter.
func (c *container) make(ctx context.Context, maker Containers, spec ContainerSpec) error {
	defer c.users.Done()
	stop := context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })
	defer stop()
	made, err := maker.NewContainer(c.ctx, spec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Container, c.made = made, true
	return nil
}

// whileBoth returns ctx, ended with the cause of other when that ends earlier.
func whileBoth(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// NewContainer mounts a container's file systems.
func (s *Session) NewContainer(ctx context.Context, req *gateway.NewContainerRequest) (*gateway.NewContainerResponse, error) {
	id := req.GetContainerID()
	if id == "" || len(id) > maxID {
		return nil, fmt.Errorf("container id has %d bytes, want 1 to %d: %w", len(id), maxID, errdefs.ErrInvalidArgument)
	}
	if len(req.GetMounts()) > maxMounts {
		return nil, fmt.Errorf("container %s has %d mounts, at most %d: %w", id, len(req.GetMounts()), maxMounts, errdefs.ErrInvalidArgument)
	}
	spec := ContainerSpec{
		Name: "container " + id, Network: req.GetNetwork(), Platform: req.GetPlatform(),
		Hostname: req.GetHostname(), ExtraHosts: req.GetExtraHosts(),
	}
	for _, m := range req.GetMounts() {
		r, err := s.get(m.GetResultID())
		if err != nil {
			return nil, fmt.Errorf("failed to find ref %s for %q mount: %w", m.GetResultID(), m.GetDest(), err)
		}
		spec.Mounts = append(spec.Mounts, Mount{Mount: m, Ref: r})
	}
	c := &container{}
	// The container outlives the call.
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := s.enter(id, c); err != nil {
		return nil, err
	}
	if err := c.make(ctx, s.maker, spec); err != nil {
		s.mu.Lock()
		if s.containers[id] == c {
			delete(s.containers, id)
		}
		s.mu.Unlock()
		return nil, s.outward(err)
	}
	return &gateway.NewContainerResponse{}, nil
}

// enter takes an id for a container in the making. Its maker counts as a user,
// so that Close waits for it.
func (s *Session) enter(id string, c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.containers == nil:
		return errOver
	case s.containers[id] != nil:
		return fmt.Errorf("Container %s already exists: %w", id, errdefs.ErrAlreadyExists)
	case len(s.containers) >= maxContainers:
		return fmt.Errorf("frontend has %d containers, release some: %w", maxContainers, errdefs.ErrResourceExhausted)
	}
	c.users.Add(1)
	s.containers[id] = c
	return nil
}

var errOver = fmt.Errorf("the build is over: %w", errdefs.ErrFailedPrecondition)

// container finds a container and counts the caller as its user.
func (s *Session) container(id string) (*container, func(), error) {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c != nil {
		if done, ok := c.use(); ok {
			return c, done, nil
		}
	}
	return nil, nil, fmt.Errorf("container %q previously released or not created: %w", id, errdefs.ErrNotFound)
}

// ReleaseContainer ends a container and its processes. That there were any is
// an error of kind Canceled, but the container is gone.
func (s *Session) ReleaseContainer(ctx context.Context, req *gateway.ReleaseContainerRequest) (*gateway.ReleaseContainerResponse, error) {
	s.mu.Lock()
	c := s.containers[req.GetContainerID()]
	delete(s.containers, req.GetContainerID())
	s.mu.Unlock()
	if c == nil {
		return nil, fmt.Errorf("container details for %s not found: %w", req.GetContainerID(), errdefs.ErrNotFound)
	}
	broken, err := c.release(ctx)
	if broken {
		err = errors.Join(errBroken, err)
	}
	return &gateway.ReleaseContainerResponse{}, err
}

// Close ends the conversation with everything that was started in it, and
// waits for that.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	all := s.containers
	s.containers = nil
	s.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var group sync.WaitGroup
	for _, c := range all {
		group.Go(func() {
			_, err := c.release(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// ReadFileContainer reads a file of a container's mount.
func (s *Session) ReadFileContainer(ctx context.Context, req *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	offset, length, err := rangeOf(req)
	if err != nil {
		return nil, err
	}
	c, done, err := s.container(req.GetRef())
	if err != nil {
		return nil, err
	}
	defer done()
	data, err := c.ReadFile(ctx, int(req.GetMountIndex()), req.GetFilePath(), offset, length)
	if err != nil {
		return nil, err
	}
	return fileResponse(req, data)
}

// ReadDirContainer lists a directory of a container's mount.
func (s *Session) ReadDirContainer(ctx context.Context, req *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	c, done, err := s.container(req.GetRef())
	if err != nil {
		return nil, err
	}
	defer done()
	entries, err := c.ReadDir(ctx, int(req.GetMountIndex()), req.GetDirPath(), req.GetIncludePattern())
	return &gateway.ReadDirResponse{Entries: entries}, err
}

// StatFileContainer describes a file of a container's mount.
func (s *Session) StatFileContainer(ctx context.Context, req *gateway.StatFileRequest) (*gateway.StatFileResponse, error) {
	c, done, err := s.container(req.GetRef())
	if err != nil {
		return nil, err
	}
	defer done()
	st, err := c.StatFile(ctx, int(req.GetMountIndex()), req.GetPath())
	return &gateway.StatFileResponse{Stat: st}, err
}
