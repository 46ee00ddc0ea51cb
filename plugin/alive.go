package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// nobody is a name that no image has.
const nobody = "kiln.invalid/alive:none"

// Alive returns nil if the builder can still look after builds: its own state
// answers, and so does the store of an embedded containerd. A containerd beside
// it may be away for a while, which a restart of the builder would not mend. It
// blocks if the builder is stuck.
func (b *Builder) Alive(ctx context.Context) error {
	b.Builds.Running()
	if !b.host.Private {
		return nil
	}
	_, err := b.host.Images.Get(namespaces.WithNamespace(ctx, b.host.Namespace), nobody)
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("ask the image store: %w", err)
	}
	return nil
}
