package executor

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/mount"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Executor runs processes in containers.
type Executor interface {
	// Run creates the container id, runs c.Process in it as its first process
	// and removes it. Started is closed once the process runs; it may be nil
	// for a container that is not to be joined by Exec. A process that exits
	// with an unlisted code gives *solver.ExitError.
	Run(ctx context.Context, id string, c Container, started chan<- struct{}) error
	// Exec runs another process in a container that Run has started.
	Exec(ctx context.Context, id string, p Process) error
}

// Container is a container's definition.
type Container struct {
	// Root is the root file system.
	Root Root
	// Mounts on top of it, in the order to be mounted.
	Mounts  []Mount
	Process Process
	// Hostname inside; empty for the default.
	Hostname string
	// ExtraHosts are appended to /etc/hosts.
	ExtraHosts []HostIP
	Network    NetworkMode
	// Proxy, if not nil, puts everything but loopback behind the recording
	// proxy, unless Network is NetworkNone.
	Proxy *Proxy
	// Insecure lifts seccomp, capabilities and masked paths; the caller has
	// checked the entitlement.
	Insecure bool
	// Ulimits and cgroup limits.
	Ulimits      []Ulimit
	CgroupParent string
	Resources    *Resources
	// Devices asked for by name, with what else they need.
	Devices []Device
	// Platform the process is for; nil for the native one.
	Platform *ocispecs.Platform
	// RemoveStubParents removes directories that had to be made on the way to
	// a mount point; the mount point itself is removed in any case.
	RemoveStubParents bool
}

// Device is a device of the Container Device Interface.
type Device struct {
	// Name is vendor/class=name, vendor/class=* for all of a class,
	// vendor/class for the first of it, or what devices say their class is.
	Name string
	// Optional means that the process runs without the device if there is
	// none of that name.
	Optional bool
}

// Root is a root file system.
type Root struct {
	Mounts []mount.Mount
	// Readonly makes the container see it read-only.
	Readonly bool
}

// Mount is a file system at a place in the container.
type Mount struct {
	// Dest is absolute, inside the container.
	Dest string
	// Source gives the containerd mounts at start and takes them back at the
	// end.
	Source Mountable
	// Selector is the path within the source to mount; empty for its root. It
	// is resolved inside the source.
	Selector string
	Readonly bool
}

// Mountable is something that can be mounted.
type Mountable interface {
	// Mount returns containerd mounts and what undoes their preparation.
	Mount(ctx context.Context) ([]mount.Mount, func() error, error)
}

// NetworkMode says what network a container sees.
type NetworkMode int

// Network modes, numbered as in LLB.
const (
	NetworkSandbox NetworkMode = iota
	NetworkHost
	NetworkNone
)

// Process is what runs in a container.
type Process struct {
	Args []string
	// Env has entries K=V.
	Env []string
	Cwd string
	// User is name, uid, name:group or uid:gid, resolved in the root.
	User string
	Tty  bool
	// Stdin may be nil; Stdout and Stderr are closed by the executor at the end.
	Stdin          io.ReadCloser
	Stdout, Stderr io.WriteCloser
	// Resize and Signal are read while the process runs; may be nil.
	Resize <-chan WindowSize
	Signal <-chan int
	// ValidExitCodes replaces 0 as the only success if not empty.
	ValidExitCodes []int
}

// WindowSize of a terminal.
type WindowSize struct {
	Rows, Cols uint32
}

// File is a small file for a container.
type File struct {
	// Dest is absolute, inside the container.
	Dest string
	Data []byte
}

// HostIP is a line of /etc/hosts.
type HostIP struct {
	Host string
	IP   string
}

// Ulimit is a resource limit of the process.
type Ulimit struct {
	// Name as in getrlimit(2) without RLIMIT_, lower case.
	Name       string
	Soft, Hard int64
}

// Resources are cgroup limits; zero values leave the default.
type Resources struct {
	// Memory and MemorySwap in bytes.
	Memory, MemorySwap int64
	CPUShares          uint64
	// CPUPeriod and CPUQuota in microseconds.
	CPUPeriod uint64
	CPUQuota  int64
	// CpusetCPUs and CpusetMems are lists such as "0-2,7".
	CpusetCPUs, CpusetMems string
}
