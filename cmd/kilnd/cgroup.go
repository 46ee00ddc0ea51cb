package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// cgroupRoot is where control groups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// maxMoved bounds how many processes are moved out of the daemon's group; at
// its start it is alone.
const maxMoved = 1000

// placeSteps puts the steps below the daemon's own control group where the
// service manager has handed that over (Delegate=yes): what the unit limits,
// it limits for the steps, too, and they are seen and ended with it. It is not
// asked if the configuration names another place.
func (s *Settings) placeSteps(ctx context.Context) {
	w := &s.Workers.OCI
	if w.DefaultCgroupParent != "" || s.Rootless || s.Containerd != "" {
		return
	}
	own, unified, err := ownGroup("/proc/self/cgroup")
	if err != nil || !delegated(own, unified) {
		return
	}
	if unified {
		if err := makeRoom(filepath.Join(cgroupRoot, own)); err != nil {
			log.G(ctx).WithError(err).Warn("limits of the unit do not hold for steps: they are outside of its control group")
			return
		}
	}
	w.DefaultCgroupParent = own
}

// ownGroup reads the group that the service manager put this process in, and
// whether there is one hierarchy of groups for everything.
func ownGroup(file string) (path string, unified bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", false, fmt.Errorf("read control groups: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, group, _ := strings.Cut(rest, ":")
		switch {
		case name == "name=systemd":
			return group, false, nil
		case name == "":
			path, unified = group, true
		}
	}
	return path, unified, nil
}

// delegated reports whether a group is for the daemon to divide. systemd marks
// groups of the unified hierarchy that are. In the older ones, where processes
// may be at any depth, those of a service that talks to its manager do.
func delegated(group string, unified bool) bool {
	if !unified {
		return strings.HasSuffix(group, ".service") && os.Getenv("NOTIFY_SOCKET") != ""
	}
	value := make([]byte, 8)
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		if n, err := unix.Getxattr(filepath.Join(cgroupRoot, group), name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// makeRoom moves the processes of a group into one below it: a group of the
// unified hierarchy that has limits for those below may have none itself.
func makeRoom(dir string) error {
	below := filepath.Join(dir, "daemon")
	if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for range maxMoved {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return err
		}
		pid, _, _ := strings.Cut(string(text), "\n")
		if pid == "" {
			return nil
		}
		if err := os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(pid), 0o600); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move process %s: %w", pid, err)
		}
	}
	return fmt.Errorf("%s always has another process", dir)
}
