package runc

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/solver/executor"
)

// capabilities of a process in a sandbox: the set that containers get
// everywhere.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// masked and read-only paths keep a process from learning about the host or
// changing it through procfs and sysfs.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// specVersion is what the configuration needs and no more: runtimes refuse
// versions they do not know.
const specVersion = "1.0.2"

// newSpec is the container's OCI configuration.
func (e *Executor) newSpec(ctx context.Context, b *bundle, c *executor.Container, mounts []specs.Mount) (*specs.Spec, error) {
	s := &specs.Spec{
		Version: specVersion, Hostname: hostname(c.Hostname),
		Root:   &specs.Root{Path: b.root, Readonly: c.Root.Readonly},
		Mounts: systemMounts(c),
		Linux: &specs.Linux{
			Namespaces: b.namespaces(), MaskedPaths: maskedPaths, ReadonlyPaths: readonlyPaths,
			Resources: resources(c), CgroupsPath: e.cgroupsPath(b.id, c.CgroupParent),
		},
	}
	e.enter(ctx, b, c, s)
	s.Mounts = append(append(s.Mounts, b.foreign.mounts()...), mounts...)
	sortMounts(s.Mounts)
	if c.Insecure {
		liftConfinement(s)
	}
	var err error
	if s.Process, err = b.newProcess(&c.Process, c); err != nil {
		return nil, err
	}
	if !c.Insecure {
		s.Linux.Seccomp = seccompProfile(s)
	}
	for _, u := range c.Ulimits {
		s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard),
		})
	}
	if e.cfg.Rootless {
		e.underUser(s)
	}
	if err := e.inject(s, c.Devices); err != nil {
		return nil, err
	}
	return s, nil
}

// inject adds devices. What they need may be anything of the configuration, so
// this comes last.
func (e *Executor) inject(s *specs.Spec, list []executor.Device) error {
	if e.cfg.Devices != nil {
		return e.cfg.Devices.Inject(s, list)
	}
	for _, d := range list {
		if !d.Optional {
			return fmt.Errorf("required device %q is not registered: %w", d.Name, errdefs.ErrNotFound)
		}
	}
	return nil
}

// newProcess is a process of the container. Its working directory is checked
// by the runtime to be inside the root.
func (b *bundle) newProcess(p *executor.Process, c *executor.Container) (*specs.Process, error) {
	if len(p.Args) == 0 {
		return nil, fmt.Errorf("a process needs arguments: %w", errdefs.ErrInvalidArgument)
	}
	cwd := p.Cwd
	if cwd == "" {
		cwd = "/"
	}
	if !path.IsAbs(cwd) {
		return nil, fmt.Errorf("working directory %q is not absolute: %w", cwd, errdefs.ErrInvalidArgument)
	}
	// /proc/self/fd would reach what the runtime has open.
	if clean := path.Clean(cwd); clean == "/proc" || strings.HasPrefix(clean, "/proc/") {
		return nil, fmt.Errorf("working directory %q is in procfs: %w", cwd, errdefs.ErrInvalidArgument)
	}
	u, err := lookupUser(b.root, p.User)
	if err != nil {
		return nil, err
	}
	caps := capabilities
	if c != nil && c.Insecure {
		caps = allCapabilities()
	}
	out := &specs.Process{
		Terminal: p.Tty, Args: b.foreign.arguments(b.root, p.Args, p.Env), Env: b.net.environ(p.Env), Cwd: path.Clean(cwd), User: u,
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
	}
	if c != nil && c.Insecure {
		// Programs that drop root keep what the build was given.
		out.Capabilities.Inheritable, out.Capabilities.Ambient = caps, caps
	}
	return out, nil
}

// process is another process in the container, confined like the first.
func (b *bundle) process(p *executor.Process) (*specs.Process, error) {
	out, err := b.newProcess(p, nil)
	if err != nil {
		return nil, err
	}
	out.Capabilities = b.spec.Process.Capabilities
	out.Rlimits = b.spec.Process.Rlimits
	return out, nil
}

func (b *bundle) namespaces() []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}
	if cgroup2() {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if !b.net.host {
		out = append(out, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: b.net.path})
	}
	return out
}

// systemMounts are what every process expects.
func systemMounts(c *executor.Container) []specs.Mount {
	sys := []string{"nosuid", "noexec", "nodev"}
	if !c.Insecure {
		sys = append(sys, "ro")
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{"relatime"}, sys...)},
	}
}

// sortMounts puts a mount before those below it; mounts at the same place keep
// their order, so that the client's win over the system's.
func sortMounts(mounts []specs.Mount) {
	depth := func(m specs.Mount) int {
		p := path.Clean("/" + m.Destination)
		if p == "/" {
			return 0
		}
		return strings.Count(p, "/")
	}
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int { return depth(a) - depth(b) })
}

// cgroupsPath places a container's cgroup.
func (e *Executor) cgroupsPath(id, parent string) string {
	if parent == "" {
		parent = e.cfg.CgroupParent
	}
	if bySystemd(parent) {
		return parent + id
	}
	return filepath.Join("/", parent, "buildkit", id)
}

// bySystemd reports whether a parent is a slice, whose cgroups systemd makes.
func bySystemd(parent string) bool {
	return strings.Contains(parent, ".slice:") && strings.HasSuffix(parent, ":")
}

// resources are the cgroup limits; devices are those of any container.
func resources(c *executor.Container) *specs.LinuxResources {
	out := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	r := c.Resources
	if r == nil {
		return out
	}
	out.Memory = &specs.LinuxMemory{Limit: nonZero(r.Memory), Swap: nonZero(r.MemorySwap)}
	out.CPU = &specs.LinuxCPU{
		Shares: nonZero(r.CPUShares), Period: nonZero(r.CPUPeriod), Quota: nonZero(r.CPUQuota),
		Cpus: r.CpusetCPUs, Mems: r.CpusetMems,
	}
	return out
}

func nonZero[T int64 | uint64](v T) *T {
	if v == 0 {
		return nil
	}
	return &v
}
