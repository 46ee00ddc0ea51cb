package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
	"github.com/moby/sys/user"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// wantedIDs is how many user and group ids images may expect to exist.
const wantedIDs = 1 << 16

// namespaceHelp is for who starts the daemon without one. The first half is
// what other builders say, and people search for.
const namespaceHelp = "rootless mode requires to be executed as the mapped root in a user namespace; " +
	"rootlesskit makes one: rootlesskit --net=host --copy-up=/etc --copy-up=/run %s"

// checkNamespace refuses a daemon that is not root anywhere, or that was told
// to be rootless and is root everywhere.
func (s *Settings) checkNamespace() error {
	if os.Geteuid() != 0 || s.Rootless && !userns.RunningInUserNS() {
		return fmt.Errorf(namespaceHelp, filepath.Base(os.Args[0]))
	}
	return nil
}

// prepareRootless makes sure that layers can be mounted, and says in one line
// what rootless builds have to do without.
func prepareRootless(ctx context.Context, s *Settings) error {
	if !s.Rootless {
		return nil
	}
	if err := tryOverlay(s.Root); err != nil {
		return fmt.Errorf("overlay file systems cannot be mounted in this user namespace (Linux 5.11 or later can, "+
			"on a disk that is not itself an overlay; is %s one?): %w", s.Root, err)
	}
	lacks, err := s.lacks()
	if err != nil {
		return err
	}
	log.G(ctx).Warnf("rootless: %s", strings.Join(lacks, "; "))
	return nil
}

// lacks names what this daemon's builds do without.
func (s *Settings) lacks() ([]string, error) {
	var out []string
	w := &s.Workers.OCI
	if w.Mode == "" || w.Mode == "auto" {
		out = append(out, "steps share the daemon's network")
	}
	out = append(out, "limits of memory and CPU are not enforced")
	if w.NoProcessSandbox {
		out = append(out, "steps see, and may kill, each other's and the daemon's processes")
	}
	for _, kind := range []string{"uid", "gid"} {
		ids, err := user.ParseIDMapFile("/proc/self/" + kind + "_map")
		if err != nil {
			return nil, fmt.Errorf("read the user namespace's ids: %w", err)
		}
		var most int64
		for _, m := range ids {
			most = max(most, m.ID+m.Count)
		}
		if most < wantedIDs {
			out = append(out, fmt.Sprintf("files of a %s above %d cannot be made (give the user 65536 in /etc/sub%s)", kind, most-1, kind))
		}
	}
	return out, nil
}

// tryOverlay mounts the kind of overlay that layers need.
func tryOverlay(root string) (err error) {
	dir, err := os.MkdirTemp(root, "overlay-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("userxattr,lowerdir=%s,upperdir=%s,workdir=%s", at("lower"), at("upper"), at("work"))
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, options); err != nil {
		return err
	}
	return unix.Unmount(at("merged"), unix.MNT_DETACH)
}
