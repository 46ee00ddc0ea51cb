package runc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// underUser takes out of a configuration what only the machine's root may do;
// what is left, root of a user namespace can start.
func (e *Executor) underUser(s *specs.Spec) {
	// Cgroups belong to the machine's root. Without a path the runtime tries
	// one and does without if it may not; limits it would have to refuse.
	s.Linux.CgroupsPath = ""
	s.Linux.Resources = &specs.LinuxResources{}
	hostNet := !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	for i := range s.Mounts {
		// Who mounts sysfs must own the network namespace; the one that is
		// mounted already shows the same.
		if m := &s.Mounts[i]; m.Type == "sysfs" && hostNet {
			m.Type, m.Source = "bind", "/sys"
			m.Options = append([]string{"rbind"}, m.Options...)
		}
	}
	if hostNet {
		// The bind mount brings the cgroups along. They cannot be covered by
		// others: nothing here may make a cgroup.
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	}
	if e.cfg.NoProcessSandbox {
		shareProcesses(s)
	}
}

// shareProcesses leaves a container in the daemon's process namespace, with its
// procfs: a new one cannot be mounted where parts of the old one are covered,
// as they are in containers.
func shareProcesses(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Type == "proc" {
			m.Type, m.Source, m.Options = "bind", "/proc", []string{"rbind"}
		}
	}
	// What is to be hidden is hidden already, by who made the outer container;
	// covers over covers are refused.
	ofProc := func(p string) bool { return strings.HasPrefix(p, "/proc/") }
	s.Linux.MaskedPaths = slices.DeleteFunc(slices.Clone(s.Linux.MaskedPaths), ofProc)
	s.Linux.ReadonlyPaths = slices.DeleteFunc(slices.Clone(s.Linux.ReadonlyPaths), ofProc)
}

// straysWithin bounds how long the processes that a container left may take to
// end after they were killed.
const straysWithin = 5 * time.Second

// followFirst waits for the end of a container's first process and ends the
// others, as the kernel does in a process namespace: the runtime waits for who
// has the container's output open.
func (e *Executor) followFirst(b *bundle, pidFile string, done <-chan struct{}) {
	if !awaitFile(pidFile, done) {
		return
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return
	}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		defer unix.Close(fd)
		for ended := false; !ended; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(firstPoll/time.Millisecond))
			ended = n > 0 || err != nil && !errors.Is(err, unix.EINTR)
			select {
			case <-done:
				return
			default:
			}
		}
	}
	_ = e.killStrays(b) // whose errors the caller of Run gets: it asks again
}

// firstPoll is how often a wait for a process looks whether it is needed.
const firstPoll = time.Second

// killStrays kills the processes that a container without a process namespace
// left behind, and waits for their end: they hold on to its layers. They are
// known by the bundle's files, which no other container has mounted.
func (e *Executor) killStrays(b *bundle) error {
	if !e.cfg.NoProcessSandbox {
		return nil
	}
	mark := []byte("/" + filepath.Base(e.cfg.Root) + "/" + b.id + "/hosts ")
	for end := time.Now().Add(straysWithin); ; time.Sleep(10 * time.Millisecond) {
		found, err := processesWith(mark)
		if err != nil || len(found) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v of container %s do not end: %w", found, b.id, errdefs.ErrUnavailable)
		}
		for _, pid := range found {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
}

// processesWith lists the processes in whose mount namespace the text occurs.
func processesWith(mark []byte) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Other users' processes cannot be read, and are not a container's.
		if mounts, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "mountinfo")); err == nil && bytes.Contains(mounts, mark) {
			found = append(found, pid)
		}
	}
	return found, nil
}
