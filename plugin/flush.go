package plugin

import (
	"context"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/progress"
)

// flusher writes the cache's records before a build is reported as done: what
// a user saw finish is found again even if the daemon is killed right after.
// It is a build.Observer.
type flusher struct {
	results *cache.Bolt
}

// Started does nothing.
func (flusher) Started(*build.Record) {}

// Ended waits until the records are on disk.
func (f flusher) Ended(ctx context.Context, _ *build.Record, _ *progress.Reader) {
	if err := f.results.Flush(ctx); err != nil {
		log.G(ctx).WithError(err).Warn("write build cache")
	}
}
