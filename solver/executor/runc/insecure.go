package runc

import (
	"os"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// spareLoops is how many loop devices beyond the first free one a process may
// take: it cannot make more.
const spareLoops = 8

// liftConfinement is what an entitled build may ask for: every device, all
// capabilities of the daemon, nothing hidden and nothing filtered.
func liftConfinement(s *specs.Spec) {
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	for i := range s.Mounts {
		if s.Mounts[i].Type == "sysfs" || s.Mounts[i].Type == "cgroup" {
			s.Mounts[i].Options = slices.DeleteFunc(s.Mounts[i].Options, func(o string) bool { return o == "ro" })
		}
	}
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{
		{Allow: true, Type: "c", Access: "rwm"},
		{Allow: true, Type: "b", Access: "rwm"},
	}
	s.Linux.Devices = append(s.Linux.Devices, insecureDevices()...)
}

// insecureDevices are the nodes that tools for file systems, virtual machines
// and networks expect. Whether the kernel has a driver behind them is for the
// tool to find out.
func insecureDevices() []specs.LinuxDevice {
	out := []specs.LinuxDevice{
		{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11},
		{Path: "/dev/cuse", Type: "c", Major: 10, Minor: 203},
		{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229},
		{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232},
		{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200},
		{Path: "/dev/loop-control", Type: "c", Major: 10, Minor: 237},
	}
	for i := range freeLoop() + spareLoops {
		out = append(out, specs.LinuxDevice{Path: "/dev/loop" + strconv.Itoa(i), Type: "b", Major: 7, Minor: int64(i)})
	}
	return out
}

// freeLoop returns the number of the first loop device that nobody uses, 0 if
// that cannot be known.
func freeLoop() int {
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
