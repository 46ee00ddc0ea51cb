package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// sweep removes the namespaces that an earlier daemon with another mode left.
// What plugins gave away stays given: they are not there to be told. A pool
// looks after those of the same mode.
func sweep(ctx context.Context, root, current string) error {
	for _, mode := range []string{ModeCNI, ModeBridge} {
		if mode == current {
			continue
		}
		dir := filepath.Join(root, mode)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("list left networks: %w", err)
		}
		for _, e := range entries {
			if err := netns.Remove(filepath.Join(dir, e.Name())); err != nil {
				log.G(ctx).WithError(err).Warn("remove network of an earlier daemon")
			}
		}
	}
	return nil
}
