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

// sweepAll removes the namespaces that an earlier daemon left, whatever its
// mode was. What plugins gave away stays given: they are not there to be told.
func sweepAll(ctx context.Context, root string) error {
	for _, mode := range []string{ModeCNI, ModeBridge} {
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
