package differ

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// withMount runs fn with mounts at a temporary place, activating them first if
// a manager is given and they need it. No mounts give the empty path.
func withMount(ctx context.Context, manager mount.Manager, mounts []mount.Mount, readonly bool, fn func(root string) error) error {
	if len(mounts) == 0 {
		return fn("")
	}
	if manager != nil {
		name := "kiln-differ-" + rand.Text()
		info, err := manager.Activate(ctx, name, mounts, mount.WithTemporary)
		switch {
		case err == nil:
			defer func() {
				if err := manager.Deactivate(context.WithoutCancel(ctx), name); err != nil {
					log.G(ctx).WithError(err).WithField("mount", name).Warn("cannot deactivate a temporary mount")
				}
			}()
			mounts = info.System
		case !errdefs.IsNotImplemented(err):
			return fmt.Errorf("activate mounts: %w", err)
		}
	}
	if readonly {
		return mount.WithReadonlyTempMount(ctx, mounts, fn)
	}
	return mount.WithTempMount(ctx, mounts, fn)
}
