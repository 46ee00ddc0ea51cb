package emulate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/sys/user"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespace is a user namespace with registrations of its own, which Linux has
// since 6.7. Nobody outside sees them. The ids are those of this process.
type namespace struct {
	// user is the namespace; registry is the file system with the
	// registrations, which end when nobody has it open.
	user, registry *os.File
}

// registerScript runs in a new user namespace. Its arguments are the place of
// the file system and what to register; the descriptor 3 is a program of the
// architecture. It stays until its input ends, so that its namespace can be
// taken hold of.
const registerScript = `set -e
mount -t binfmt_misc binfmt_misc "$1"
printf %s "$2" >"$1/register"
/proc/self/fd/3
echo ready
read -r _ || :`

// registryPath is where the kernel wants its registrations mounted.
const registryPath = "/proc/sys/fs/binfmt_misc"

// registration is the line that has programs of an architecture started by an
// emulator. The kernel reads the escapes. Its flags: the file is opened now, not
// in the container (F), set-user-id bits of programs count (C), and a program
// keeps its name (P).
func (p program) registration(name, emulator string) string {
	var magic, mask strings.Builder
	head := p.elf()[:20]
	for i, b := range head {
		m := byte(0xff)
		switch {
		case i >= 7 && i < 16:
			b, m = 0, 0 // whose system calls, and padding
		case i == 16 || i == 17:
			// Executables (2), and shared objects (3), which may be ones.
			if b != 0 {
				m = 0xfe
			}
		}
		fmt.Fprintf(&magic, `\x%02x`, b)
		fmt.Fprintf(&mask, `\x%02x`, m)
	}
	return fmt.Sprintf(":kiln-%s:M::%s:%s:%s:FCP", name, &magic, &mask, emulator)
}

// register makes the namespace in which emulator, a file, runs programs of
// arch. It is known to work then.
func register(ctx context.Context, arch, emulator string) (_ *namespace, err error) {
	p, ok := programs[arch]
	if !ok || strings.ContainsAny(emulator, ":\n") {
		return nil, fmt.Errorf("%s and %s cannot be registered: %w", arch, emulator, errdefs.ErrNotImplemented)
	}
	trial, err := memoryFile(p.elf())
	if err != nil {
		return nil, err
	}
	defer trial.Close()
	uids, gids, err := ownIDs()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", registerScript, "sh", registryPath, p.registration(arch, emulator))
	cmd.ExtraFiles = []*os.File{trial}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: processIDs(uids), GidMappings: processIDs(gids),
		GidMappingsEnableSetgroups: true,
	}
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make user namespace for programs of %s: %w", arch, err)
	}
	n := &namespace{}
	line, err := bufio.NewReader(io.LimitReader(out, 64)).ReadString('\n')
	if err == nil && line == "ready\n" {
		err = n.open(cmd.Process.Pid)
	}
	_ = in.Close()
	if end := cmd.Wait(); err == nil {
		err = end
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("register %s for programs of %s in a user namespace (Linux 6.7 or later can): %w: %s",
			emulator, arch, err, strings.TrimSpace(said.String())), n.close())
	}
	return n, nil
}

// open takes hold of the namespace of a process.
func (n *namespace) open(pid int) (err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	if n.user, err = os.Open(dir + "/ns/user"); err != nil {
		return err
	}
	n.registry, err = os.Open(dir + "/root" + registryPath)
	return err
}

func (n *namespace) close() error {
	var errs []error
	for _, f := range []*os.File{n.user, n.registry} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// ownIDs are the users and groups of this process's namespace.
func ownIDs() (uids, gids []user.IDMap, err error) {
	if uids, err = user.ParseIDMapFile("/proc/self/uid_map"); err == nil {
		gids, err = user.ParseIDMapFile("/proc/self/gid_map")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the ids of the user namespace: %w", err)
	}
	return uids, gids, nil
}

// processIDs maps ids to themselves, for a process to be started.
func processIDs(ids []user.IDMap) []syscall.SysProcIDMap {
	var out []syscall.SysProcIDMap
	for _, m := range ids {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(m.ID), HostID: int(m.ID), Size: int(m.Count)})
	}
	return out
}

// containerIDs maps ids to themselves, for a container.
func containerIDs(ids []user.IDMap) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range ids {
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(m.ID), HostID: uint32(m.ID), Size: uint32(m.Count)})
	}
	return out
}

// Inject changes a container's configuration so that the kernel itself starts
// the emulator that Find found for p, for the container's first program as for
// all others. On an error nothing is changed; it is errdefs NotImplemented for
// containers in networks that belong to others, which cannot be entered from a
// user namespace.
func (d *Detector) Inject(ctx context.Context, p ocispecs.Platform, emulator string, s *specs.Spec) error {
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.UserNamespace || n.Type == specs.NetworkNamespace && n.Path != "" {
			return fmt.Errorf("%s namespace of its own: %w", n.Type, errdefs.ErrNotImplemented)
		}
	}
	uids, gids, err := ownIDs()
	if err != nil {
		return err
	}
	n, err := d.namespace(ctx, platforms.Normalize(p).Architecture, emulator)
	if err != nil {
		return err
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{
		Type: specs.UserNamespace, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.user.Fd()),
	})
	s.Linux.UIDMappings, s.Linux.GIDMappings = containerIDs(uids), containerIDs(gids)
	s.Mounts = withoutSys(s.Mounts)
	return nil
}

// withoutSys replaces sysfs, which only the network's owner may mount. To show
// the daemon's would be to show what is mounted in it, to a root that is the
// machine's as far as files go: a container gets the part that programs read.
func withoutSys(mounts []specs.Mount) []specs.Mount {
	const devices = "/sys/devices/system"
	var out []specs.Mount
	for _, m := range mounts {
		if m.Destination != "/sys" && !strings.HasPrefix(m.Destination, "/sys/") {
			out = append(out, m)
		}
	}
	return append(out,
		specs.Mount{Destination: "/sys", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=755", "size=64k"}},
		specs.Mount{Destination: devices, Type: "bind", Source: devices, Options: []string{"bind", "ro", "nosuid", "noexec", "nodev"}})
}

// namespace returns the one for an architecture, which is made once. What did
// not work is tried again with the next container.
func (d *Detector) namespace(ctx context.Context, arch, emulator string) (*namespace, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.namespaces[arch]; n != nil {
		return n, nil
	}
	n, err := d.register(ctx, arch, emulator)
	if err != nil {
		return nil, err
	}
	if d.namespaces == nil {
		d.namespaces = map[string]*namespace{}
	}
	d.namespaces[arch] = n
	return n, nil
}

// Close lets go of what was registered. Containers that run keep it.
func (d *Detector) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, n := range d.namespaces {
		errs = append(errs, n.close())
	}
	d.namespaces = nil
	return errors.Join(errs...)
}
