package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/differ"
)

// sweepLater removes, in the background, what an earlier process left
// half-made. Nothing waits for it: only disk space depends on it.
func (b *Builder) sweepLater(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		if err := abortLayers(ctx, b.host.Namespace, b.host.Content, began); err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Warn("sweep unfinished layers of an earlier process")
		}
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

// abortLayers aborts the layers that a process was writing when it was killed
// before the given time. Their names are random, so nobody ever goes on with
// them; containerd itself would keep their bytes for a day.
func abortLayers(ctx context.Context, namespace string, store content.Store, before time.Time) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	open, err := store.ListStatuses(ctx)
	if err != nil {
		return fmt.Errorf("list unfinished blobs: %w", err)
	}
	var errs []error
	for _, status := range open {
		if strings.HasPrefix(status.Ref, differ.IngestPrefix) && status.StartedAt.Before(before) {
			if err := store.Abort(ctx, status.Ref); err != nil && !errdefs.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("abort unfinished blob %s: %w", status.Ref, err))
			}
		}
	}
	return errors.Join(errs...)
}
