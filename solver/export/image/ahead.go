package image

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/ref"
)

var _ export.Early = (*instance)(nil)

// Ahead implements export.Early: it makes layers and, if the image is to be
// pushed under names that are known, uploads them.
func (in *instance) Ahead(ctx context.Context, r *ref.Ref, env solver.Env) error {
	layers, err := in.opts.Ahead(ctx, r, env)
	if err != nil || !in.push || in.opts.Names == "*" {
		return err
	}
	var descs []ocispecs.Descriptor
	for _, l := range layers {
		// Whether these are distributed is seen when the result is there.
		if !images.IsNonDistributable(l.Descriptor.MediaType) {
			descs = append(descs, l.Descriptor)
		}
	}
	p := &pusher{cfg: &in.exporter.cfg, settings: in.settings, env: env, uploads: &in.uploads}
	ctx = namespaces.WithNamespace(ctx, p.cfg.Namespace)
	for _, name := range in.names(in.opts.Names, "").given {
		repo, named, _, err := p.open(name)
		if err == nil {
			err = p.blobs(ctx, repo, named, descs)
		}
		if err != nil {
			return fmt.Errorf("upload layers to %s: %w", name, err)
		}
	}
	return nil
}

// uploads sees to it that a blob is sent to a repository once at a time: who
// comes second finds it there. The zero value is ready.
type uploads struct {
	mu      sync.Mutex
	running map[string]chan struct{}
}

// do calls fn when nobody else does with the same key.
func (u *uploads) do(ctx context.Context, key string, fn func() error) error {
	for {
		u.mu.Lock()
		done, busy := u.running[key]
		if !busy {
			if u.running == nil {
				u.running = map[string]chan struct{}{}
			}
			done = make(chan struct{})
			u.running[key] = done
		}
		u.mu.Unlock()
		if !busy {
			defer func() {
				u.mu.Lock()
				delete(u.running, key)
				u.mu.Unlock()
				close(done)
			}()
			return fn()
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
