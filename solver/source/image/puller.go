package image

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
)

// Puller pulls images from any Origin.
type Puller struct {
	cfg    Config
	pause  time.Duration
	shared sharedLeases
}

// NewPuller returns a puller. cfg.Registries is not used.
func NewPuller(cfg Config) *Puller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Puller{cfg: cfg, pause: transferPause, shared: sharedLeases{store: cfg.Leases, now: cfg.Now}}
}

// Spec says which image is wanted.
type Spec struct {
	// Name is shown to people.
	Name string
	// Repository, if set, is the registry reference that blobs are labelled
	// with, so that a push to the same registry need not upload them.
	Repository string
	// LocalName, if set, is the name in the image store.
	LocalName string
	// Digest of the root, if known.
	Digest   digest.Digest
	Platform ocispecs.Platform
	// Limit, if not nil, is how many layers are wanted, from the base.
	Limit *int
	// Checksum, if set, is what the root must be.
	Checksum   digest.Digest
	RecordType string
	Mode       Mode
}

// Pull returns an instance of a source for an image. from is called for every
// question, with the builds that are interested then; it must not do I/O.
func (p *Puller) Pull(spec Spec, from func(solver.Env) (Origin, error)) *Pull {
	return &Pull{puller: p, spec: spec, from: from}
}

// leased returns ctx in the namespace and under a lease that keeps what is read
// until a ref owns it. The caller calls done when it reads no more.
func (p *Puller) leased(ctx context.Context) (_ context.Context, _ leases.Lease, done func(), err error) {
	ctx = p.ctx(ctx)
	l, done, err := p.shared.use(ctx)
	if err != nil {
		return nil, leases.Lease{}, nil, err
	}
	return leases.WithLease(ctx, l.ID), l, done, nil
}

// Forget gives up what was read to answer questions about images and is owned
// by no ref. What is being read stays until it has been; what a later step of
// a build misses, it reads again.
func (p *Puller) Forget(ctx context.Context) error { return p.shared.forget(p.ctx(ctx)) }

func (p *Puller) ctx(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, p.cfg.Namespace)
}

// document returns the bytes of a small blob, transferring it if it is not
// there, and has the lease own it.
func (p *Puller) document(ctx context.Context, l leases.Lease, from Origin, spec Spec, desc ocispecs.Descriptor, limit int64) ([]byte, error) {
	if err := checkBlob(desc, limit); err != nil {
		return nil, err
	}
	err := p.own(ctx, l, desc.Digest)
	if errdefs.IsNotFound(err) {
		if err = p.transfer(ctx, from, spec, desc); err == nil {
			err = p.own(ctx, l, desc.Digest)
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := p.cfg.Content.Info(ctx, desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("look for blob %s: %w", desc.Digest, err)
	}
	if info.Size != desc.Size {
		return nil, fmt.Errorf("blob %s has %d bytes, its descriptor says %d: %w", desc.Digest, info.Size, desc.Size, errdefs.ErrInvalidArgument)
	}
	desc.Data = nil
	b, err := content.ReadBlob(ctx, p.cfg.Content, desc)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return b, nil
}

// own adds a blob to the lease; NotFound if it is not there.
func (p *Puller) own(ctx context.Context, l leases.Lease, d digest.Digest) error {
	err := p.cfg.Leases.AddResource(ctx, l, leases.Resource{ID: d.String(), Type: "content"})
	if err != nil && !errdefs.IsAlreadyExists(err) && !errdefs.IsNotFound(err) {
		return fmt.Errorf("own blob %s: %w", d, err)
	}
	// Owned before it was looked for, so it cannot go in between.
	_, err = p.cfg.Content.Info(ctx, d)
	return err
}

// transfer brings a blob in and notes where it is from.
func (p *Puller) transfer(ctx context.Context, from Origin, spec Spec, desc ocispecs.Descriptor) error {
	t := &transfer{store: p.cfg.Content, from: from, desc: desc, name: spec.Name, pause: p.pause}
	if err := t.run(ctx); err != nil {
		return err
	}
	if spec.Repository == "" {
		return nil
	}
	label, err := docker.AppendDistributionSourceLabel(p.cfg.Content, spec.Repository)
	if err != nil {
		return fmt.Errorf("label blob %s: %w", desc.Digest, err)
	}
	if _, err := label(ctx, desc); err != nil {
		return fmt.Errorf("label blob %s: %w", desc.Digest, err)
	}
	return nil
}
