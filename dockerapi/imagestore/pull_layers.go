package imagestore

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/registry"
	pull "github.com/kilnbuild/kiln/solver/source/image"
)

// maxTransfers is how many layers of an image move at a time.
const maxTransfers = 4

// layers brings the layers, several at a time, and unpacks each as soon as it
// and those below it are here.
func (p *puller) layers(ctx context.Context, v *Variant) error {
	u, err := p.store.newUnpacker(ctx, v)
	if err != nil {
		return err
	}
	for i, d := range v.Manifest.Layers {
		if !images.IsLayerType(d.MediaType) {
			return kind(errdefs.ErrInvalidArgument, "unsupported media type %s: layer %d is no file system", d.MediaType, i)
		}
		if d.Size <= 0 {
			return kind(errdefs.ErrInvalidArgument, "layer %d has a size of %d bytes", i, d.Size)
		}
	}
	if v.Available {
		// Nothing comes, and there is nothing to tell.
		p.out = &reporter{out: func(route.Message) {}}
	}
	for _, d := range v.Manifest.Layers {
		p.out.layer(d, "Pulling fs layer")
	}
	group, ctx := errgroup.WithContext(ctx)
	here := make([]chan struct{}, len(v.Manifest.Layers))
	for i := range here {
		here[i] = make(chan struct{})
	}
	slots := make(chan struct{}, maxTransfers)
	for i, d := range v.Manifest.Layers {
		group.Go(func() error {
			select {
			case slots <- struct{}{}:
			default:
				p.out.layer(d, "Waiting")
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			defer func() { <-slots }()
			if err := p.download(ctx, d); err != nil {
				return err
			}
			close(here[i])
			return nil
		})
	}
	group.Go(func() error { return p.extract(ctx, u, here) })
	return group.Wait()
}

// download brings one layer.
func (p *puller) download(ctx context.Context, d ocispecs.Descriptor) error {
	text := "Download complete"
	if _, err := p.store.cfg.Content.Info(ctx, d.Digest); err == nil {
		text = "Already exists"
	}
	from := origin{repo: p.repo, count: p.out.counter(d, "Downloading")}
	if err := p.store.puller.Transfer(ctx, from, p.ref.String(), p.ref.String(), d); err != nil {
		return err
	}
	p.out.layer(d, text)
	return nil
}

// extract unpacks layers in their order.
func (p *puller) extract(ctx context.Context, u *unpacker, here []chan struct{}) error {
	for i := range here {
		select {
		case <-here[i]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		d := u.v.Manifest.Layers[i]
		p.out.layer(d, "Extracting")
		if err := u.layer(ctx, i); err != nil {
			return err
		}
		p.out.layer(d, "Pull complete")
	}
	return nil
}

// origin is a repository whose bytes are counted.
type origin struct {
	repo  *registry.Repository
	count *counter
}

var _ pull.Detour = origin{}

// Resolve implements pull.Origin.
func (o origin) Resolve(ctx context.Context) (ocispecs.Descriptor, error) { return o.repo.Resolve(ctx) }

// Fetch implements pull.Origin.
func (o origin) Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	rc, err := o.repo.Fetch(ctx, desc)
	if err != nil || o.count == nil {
		return rc, err
	}
	return &counted{rc, o.count}, nil
}

// Direct implements pull.Detour.
func (o origin) Direct() pull.Origin {
	if !o.repo.HasMirrors() {
		return nil
	}
	return origin{o.repo.Origin(), o.count}
}

// counted tells how much was read.
type counted struct {
	io.ReadCloser
	count *counter
}

// Read reads and tells.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.count.add(int64(n))
	return n, err
}

// Seek moves to where a transfer that broke off goes on.
func (c *counted) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.ReadCloser.(io.Seeker)
	if !ok {
		return 0, fmt.Errorf("seek in blob: %w", errdefs.ErrNotImplemented)
	}
	return s.Seek(offset, whence)
}
