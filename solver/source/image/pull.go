package image

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/source"
)

// Pull is one image for one build. It resolves once: what Key said is what
// Fetch brings, even if the tag moves in between.
type Pull struct {
	puller *Puller
	spec   Spec
	from   func(solver.Env) (Origin, error)
	image  *resolved
}

var _ source.Instance = (*Pull)(nil)

// definition is what a root with a platform is known by in cache keys; its
// JSON form is a wire format fact.
type definition struct {
	Digest     digest.Digest
	OS         string
	Arch       string
	Variant    string   `json:",omitempty"`
	OSVersion  string   `json:",omitempty"`
	OSFeatures []string `json:",omitempty"`
	Limit      *int     `json:",omitempty"`
}

// Key finds out what the image is.
func (p *Pull) Key(ctx context.Context, env solver.Env) (source.Key, error) {
	step := progress.Reporter{To: env, Now: p.puller.cfg.Now}.Status("resolve "+p.spec.Name, "")
	defer step.Done()
	r, err := p.resolve(ctx, env)
	if err != nil {
		return source.Key{}, err
	}
	if err := p.puller.cfg.Refs.NoteAddresses(ctx, r.layers); err != nil {
		return source.Key{}, fmt.Errorf("note addresses of layers of %s: %w", p.spec.Name, err)
	}
	def, err := json.Marshal(definition{
		Digest: r.root.Digest, OS: p.spec.Platform.OS, Arch: p.spec.Platform.Architecture, Variant: p.spec.Platform.Variant,
		OSVersion: p.spec.Platform.OSVersion, OSFeatures: p.spec.Platform.OSFeatures, Limit: p.spec.Limit,
	})
	if err != nil {
		return source.Key{}, fmt.Errorf("key of %s: %w", p.spec.Name, err)
	}
	return source.Key{Definition: digest.FromBytes(def).String(), Content: r.chain.String(), Pin: r.root.Digest.String()}, nil
}

// resolve resolves the image, once.
func (p *Pull) resolve(ctx context.Context, env solver.Env) (*resolved, error) {
	if p.image != nil {
		return p.image, nil
	}
	from, err := p.from(env)
	if err != nil {
		return nil, err
	}
	r, err := p.puller.resolve(ctx, p.spec, from)
	if err != nil {
		return nil, err
	}
	p.image = r
	return r, nil
}

// Describe returns the digest of the root and what else is asked for.
func (p *Pull) Describe(ctx context.Context, env solver.Env, opt source.ResolveOptions) (*source.ImageMeta, error) {
	if opt.NoConfig && !opt.AttestationChain && p.spec.Digest != "" && p.spec.Checksum == "" {
		return &source.ImageMeta{Digest: p.spec.Digest, Ref: p.spec.Name}, nil
	}
	r, err := p.resolve(ctx, env)
	if err != nil {
		return nil, err
	}
	m := &source.ImageMeta{Digest: r.root.Digest, Ref: p.spec.Name}
	if !opt.NoConfig {
		m.Config = r.config
	}
	if !opt.AttestationChain {
		return m, nil
	}
	from, err := p.from(env)
	if err != nil {
		return nil, err
	}
	m.AttestationChain, err = p.puller.attestations(ctx, p.spec, from, r, opt.Attestations)
	return m, err
}

// Fetch brings the layers; nil for an image without any.
func (p *Pull) Fetch(ctx context.Context, env solver.Env) (*ref.Ref, error) {
	r, err := p.resolve(ctx, env)
	if err != nil {
		return nil, err
	}
	if len(r.layers) == 0 {
		return nil, nil
	}
	from, err := p.from(env)
	if err != nil {
		return nil, err
	}
	out, err := p.puller.cfg.Refs.FromLayers(ctx, r.layers, provider{p, from}, env,
		ref.WithDescription("pulled from "+p.spec.Name), ref.WithRecordType(p.spec.RecordType))
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", p.spec.Name, err)
	}
	if err := p.keep(ctx, out, from); err != nil {
		return nil, fmt.Errorf("pull %s: %w", p.spec.Name, withRelease(err, out.Release(context.WithoutCancel(ctx))))
	}
	return out, nil
}

// keep has the ref own the documents; those that went since Key are brought
// again.
func (p *Pull) keep(ctx context.Context, out *ref.Ref, from Origin) error {
	ctx, l, done, err := p.puller.leased(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, d := range p.image.documents {
		err := out.Own(ctx, d.Digest)
		if errdefs.IsNotFound(err) {
			if _, err = p.puller.document(ctx, l, from, p.spec, d, maxConfig); err == nil {
				err = out.Own(ctx, d.Digest)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// provider brings layers for the ref store.
type provider struct {
	pull *Pull
	from Origin
}

// Fetch transfers a layer.
func (p provider) Fetch(ctx context.Context, desc ocispecs.Descriptor) error {
	return p.pull.puller.transfer(ctx, p.from, p.pull.spec, desc)
}

// withRelease adds what went wrong while giving a ref back.
func withRelease(err, release error) error {
	if release == nil {
		return err
	}
	return fmt.Errorf("%w (and cleaning up: %w)", err, release)
}

// configPlatform reads the platform of a configuration.
func configPlatform(config []byte) (ocispecs.Platform, error) {
	var c struct{ ocispecs.Platform }
	if err := json.Unmarshal(config, &c); err != nil {
		return ocispecs.Platform{}, fmt.Errorf("decode image configuration: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return platforms.Normalize(c.Platform), nil
}
