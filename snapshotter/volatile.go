package snapshotter

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

const labelVolatile = "containerd.io/snapshot/kiln.volatile"

// WithVolatile makes an active snapshot's mounts volatile, where the kernel
// can: fsync inside does nothing and unmounting writes nothing back. Commit
// still makes the layer durable, once. The price: if this process ends before
// Commit, the snapshot can only be removed; Mounts and Commit fail with
// FailedPrecondition. Right for the steps of a build, wrong for containers
// that must outlive the daemon.
//
// Before mounting again, call Mounts again: the kernel leaves a mark that
// makes it refuse a second mount, and Mounts takes that mark away.
func WithVolatile() snapshots.Opt {
	return snapshots.WithLabels(map[string]string{labelVolatile: "true"})
}

// volatileSupported reports whether overlay knows the option (Linux 5.10).
func volatileSupported() bool { return kernelAtLeast(5, 10) }

// checkRun refuses a volatile snapshot of an earlier process. This process has
// had the file system open since it prepared the snapshot, so no crash and no
// unmount can have come in between; for an earlier process nobody knows.
func (s *Snapshotter) checkRun(key string, r *record) error {
	if r.Run == "" || r.Run == s.layout.run {
		return nil
	}
	return fmt.Errorf("snapshot %q was volatile in a process that is gone, its content is not certain; remove it: %w", key, errdefs.ErrFailedPrecondition)
}

// resume makes a volatile snapshot mountable again after it was unmounted.
func (s *Snapshotter) resume(key string, r *record) error {
	if r.Run == "" {
		return nil
	}
	if err := s.checkRun(key, r); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.layout.workTop(r.ID), "work", "incompat")); err != nil {
		return fmt.Errorf("prepare volatile snapshot %q for another mount: %w", key, err)
	}
	return nil
}
