package layout

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/image"
)

// Names of attributes on the wire.
const (
	attrSession = "oci.session"
	attrStore   = "oci.store"
	attrLimit   = "oci.layerlimit"
)

// Source answers to the scheme "oci-layout".
type Source struct {
	puller   *image.Puller
	sessions *session.Manager
}

var (
	_ source.Source   = (*Source)(nil)
	_ source.Resolver = (*Source)(nil)
)

// New returns a source that reads from sessions. cfg.Registries and
// cfg.Images are not used.
func New(cfg image.Config, sessions *session.Manager) *Source {
	cfg.Images = nil
	return &Source{puller: image.NewPuller(cfg), sessions: sessions}
}

// Forget gives up what was read to answer questions; see image.Puller.Forget.
func (s *Source) Forget(ctx context.Context) error { return s.puller.Forget(ctx) }

// Schemes returns "oci-layout".
func (s *Source) Schemes() []string { return []string{"oci-layout"} }

// Open reads the reference and the attributes.
func (s *Source) Open(_ context.Context, id source.Identifier) (source.Instance, error) {
	return s.open(id)
}

// Resolve describes the image behind an identifier.
func (s *Source) Resolve(ctx context.Context, env solver.Env, id source.Identifier, opt source.ResolveOptions) (*source.Meta, error) {
	p, err := s.open(id)
	if err != nil {
		return nil, err
	}
	m, err := p.Describe(ctx, env, opt)
	if err != nil {
		return nil, err
	}
	return &source.Meta{Image: m}, nil
}

func (s *Source) open(id source.Identifier) (*image.Pull, error) {
	ref, err := reference.Parse(id.Ref)
	if err != nil {
		return nil, fmt.Errorf("layout reference %q: %w: %w", id.Ref, err, errdefs.ErrInvalidArgument)
	}
	named, ok := ref.(reference.Canonical)
	if !ok {
		return nil, fmt.Errorf("reference %q must have digest: %w", id.Ref, errdefs.ErrInvalidArgument)
	}
	spec, err := image.ParseSpec(id, attrLimit)
	if err != nil {
		return nil, err
	}
	spec.Name, spec.Digest = named.String(), named.Digest()
	store := id.Attrs[attrStore]
	if store == "" {
		store = named.Name()
	}
	return s.puller.Pull(spec, func(env solver.Env) (image.Origin, error) {
		ids := env.Sessions
		if fixed := id.Attrs[attrSession]; fixed != "" {
			ids = func() []string { return []string{fixed} }
		}
		return &origin{sessions: s.sessions, ids: ids, store: store, digest: spec.Digest}, nil
	}), nil
}
