package plugin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export/image"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// When the policies are applied.
const (
	// pruneDelay is the time after the start, and after each build.
	pruneDelay = time.Second
	// pruneRest is how many times as long as a run the rest after it is, so
	// that runs take a twentieth of the time at most; pruneInterval bounds it. A
	// fixed rest would let a burst of builds go far over the limits.
	pruneRest     = 20
	pruneInterval = time.Minute
)

// pruner applies the policies of garbage collection. It is a build.Observer.
type pruner struct {
	refs    *ref.Store
	collect func(ctx context.Context) error
	kick    chan struct{}

	mu       sync.Mutex
	policies []config.Policy

	runs, removed, freed atomic.Int64
	// took is how long all runs took, in nanoseconds.
	took atomic.Int64
	// records and size are what was left by the last one.
	records, size atomic.Int64
}

// set replaces the policies, from the next run on.
func (p *pruner) set(policies []config.Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policies = policies
}

func (p *pruner) rules() []config.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.policies
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
		began := time.Now()
		p.prune(ctx)
		p.measure(ctx)
		ended := time.Now()
		p.runs.Add(1)
		p.took.Add(int64(ended.Sub(began)))
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		}
		rest := min(pruneInterval, pruneRest*ended.Sub(began))
		wait = max(pruneDelay, rest-time.Since(ended))
	}
}

func (p *pruner) prune(ctx context.Context) {
	removed := false
	for _, policy := range p.rules() {
		err := p.refs.Prune(ctx, ref.PruneOptions{
			All: policy.All, Filters: policy.Filters, KeepDuration: policy.KeepDuration,
			ReservedSpace: policy.Reserved, MaxUsedSpace: policy.MaxUsed, MinFreeSpace: policy.MinFree,
		}, func(u ref.Usage) {
			removed = true
			p.removed.Add(1)
			p.freed.Add(u.Size)
		})
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

// measure notes what there is. The sizes are known: the rules ask for them.
func (p *pruner) measure(ctx context.Context) {
	list, err := p.refs.Usage(ctx, nil)
	if err != nil {
		return // The rules have told about it.
	}
	var size int64
	for _, u := range list {
		size += u.Size
	}
	p.records.Store(int64(len(list)))
	p.size.Store(size)
}

// pruned gives up what no record owns: a client that prunes wants the space.
func (b *Builder) pruned(ctx context.Context, everything bool) error {
	var errs []error
	if everything && b.host.Private {
		errs = append(errs, b.forgetImages(ctx))
	}
	for _, forget := range b.forget {
		errs = append(errs, forget(ctx))
	}
	if collect := b.host.GarbageCollect; collect != nil {
		errs = append(errs, collect(ctx))
	}
	return errors.Join(errs...)
}

// forgetImages removes the names of images that builds made. Those that were
// stored by hand stay.
func (b *Builder) forgetImages(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, b.host.Namespace)
	list, err := b.host.Images.List(ctx, "labels.\""+image.LabelBuilt+"\"==true")
	if err != nil {
		return fmt.Errorf("list images that builds made: %w", err)
	}
	for _, im := range list {
		if err := b.host.Images.Delete(ctx, im.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image %s: %w", im.Name, err)
		}
	}
	return nil
}

// newWorkerID returns an id of the form clients are used to.
func newWorkerID() string { return strings.ToLower(rand.Text()[:25]) }
