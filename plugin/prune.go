package plugin

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// When the policies are applied.
const (
	// pruneDelay is the time after the start, and after each build.
	pruneDelay = time.Second
	// pruneInterval is the least time between two runs.
	pruneInterval = time.Minute
)

// pruner applies the policies of garbage collection. It is a build.Observer.
type pruner struct {
	refs     *ref.Store
	collect  func(ctx context.Context) error
	policies []config.Policy
	kick     chan struct{}
}

// Started does nothing.
func (*pruner) Started(*build.Record) {}

// Ended asks for a run.
func (p *pruner) Ended(context.Context, *build.Record, *progress.Reader) {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run applies the policies until ctx ends.
func (p *pruner) run(ctx context.Context) {
	wait := pruneDelay
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		last := time.Now()
		p.prune(ctx)
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		}
		wait = max(pruneDelay, pruneInterval-time.Since(last))
	}
}

func (p *pruner) prune(ctx context.Context) {
	removed := false
	for _, policy := range p.policies {
		err := p.refs.Prune(ctx, ref.PruneOptions{
			All: policy.All, Filters: policy.Filters, KeepDuration: policy.KeepDuration,
			ReservedSpace: policy.Reserved, MaxUsedSpace: policy.MaxUsed, MinFreeSpace: policy.MinFree,
		}, func(ref.Usage) { removed = true })
		if err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Warn("garbage collection of the build cache")
			return
		}
	}
	if removed && p.collect != nil {
		if err := p.collect(ctx); err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Warn("garbage collection of content")
		}
	}
}

// pruned gives up what no record owns: a client that prunes wants the space.
func (b *Builder) pruned(ctx context.Context) error {
	var errs []error
	for _, forget := range b.forget {
		errs = append(errs, forget(ctx))
	}
	if collect := b.host.GarbageCollect; collect != nil {
		errs = append(errs, collect(ctx))
	}
	return errors.Join(errs...)
}

// newWorkerID returns an id of the form clients are used to.
func newWorkerID() string { return strings.ToLower(rand.Text()[:25]) }
