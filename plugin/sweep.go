package plugin

import (
	"context"

	"github.com/containerd/log"
)

// sweepLater removes, in the background, what an earlier process left
// half-made. Nothing waits for it: only disk space depends on it.
func (b *Builder) sweepLater(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err := b.refs.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Warn("sweep leftovers of an earlier process")
		}
		if n > 0 {
			log.G(ctx).Infof("swept %d leftovers of an earlier process", n)
		}
	}()
	b.later(func(context.Context) error { stop(); <-done; return nil })
}
