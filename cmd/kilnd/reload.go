package main

import (
	"context"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/plugin"
)

// watchHangups reads the configuration again at every hang-up, until ctx ends.
// What can change meanwhile does: how to reach registries, the rules of garbage
// collection, and what is logged how. Everything else waits for a restart. A
// configuration that is not right changes nothing.
func watchHangups(ctx context.Context, s *Settings, builder *plugin.Builder, v *service) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Hangups:
		}
		v.tell(ctx, v.notifier.Reloading)
		next, err := s.Again()
		if err == nil {
			err = builder.Reload(next.Config)
		}
		if err != nil {
			log.G(ctx).WithError(err).Error("configuration is not read again: the old one stays")
		} else {
			log.G(ctx).Info("configuration was read again")
		}
		v.tell(ctx, v.notifier.Ready)
	}
}
