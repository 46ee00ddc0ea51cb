package image

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/source"
)

// Names of attributes on the wire.
const (
	attrMode       = "image.resolvemode"
	attrRecordType = "image.recordtype"
	attrLimit      = "image.layerlimit"
	attrChecksum   = "image.checksum"
)

// Config is what images are pulled with. Fields not called optional are
// required.
type Config struct {
	// Registries, not used for layouts.
	Registries *registry.Client
	Refs       *ref.Store
	// Content and Leases are those of the ref store, in Namespace.
	Content   content.Store
	Leases    leases.Manager
	Namespace string
	// Images, optional, is containerd's image store.
	Images images.Store
	// Now, optional, is the clock.
	Now func() time.Time
}

// Source answers to the scheme "docker-image".
type Source struct {
	puller *Puller
	client *registry.Client
}

var (
	_ source.Source   = (*Source)(nil)
	_ source.Resolver = (*Source)(nil)

	_ source.Normalizer = (*Source)(nil)
)

// New returns a source.
func New(cfg Config) *Source {
	return &Source{puller: NewPuller(cfg), client: cfg.Registries}
}

// Forget gives up what was read to answer questions; see Puller.Forget.
func (s *Source) Forget(ctx context.Context) error { return s.puller.Forget(ctx) }

// Schemes returns "docker-image".
func (s *Source) Schemes() []string { return []string{"docker-image"} }

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

// Normalize adds the registry and the tag that a short name leaves out.
func (s *Source) Normalize(id source.Identifier) (string, error) {
	named, err := parseName(id)
	if err != nil {
		return "", err
	}
	return named.String(), nil
}

func parseName(id source.Identifier) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(id.Ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w: %w", id.Ref, err, errdefs.ErrInvalidArgument)
	}
	return reference.TagNameOnly(named), nil
}

func (s *Source) open(id source.Identifier) (*Pull, error) {
	named, err := parseName(id)
	if err != nil {
		return nil, err
	}
	spec, err := ParseSpec(id, attrLimit)
	if err != nil {
		return nil, err
	}
	spec.Name, spec.Repository = named.String(), named.String()
	if c, ok := named.(reference.Canonical); ok {
		spec.Digest = c.Digest()
	}
	spec.LocalName = localName(named)
	if spec.Mode, err = parseMode(id.Attrs[attrMode]); err != nil {
		return nil, err
	}
	if v := id.Attrs[attrChecksum]; v != "" {
		if spec.Checksum, err = digest.Parse(v); err != nil {
			return nil, fmt.Errorf("attribute %s %q: %w: %w", attrChecksum, v, err, errdefs.ErrInvalidArgument)
		}
	}
	return s.puller.Pull(spec, func(env solver.Env) (Origin, error) {
		repo, err := s.client.Repository(spec.Name, registry.Options{Sessions: env.Sessions})
		if err != nil {
			return nil, err
		}
		return registryOrigin{repo}, nil
	}), nil
}

// localName is under what name the image store may have an image.
func localName(named reference.Named) string {
	tag := "latest"
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return named.Name() + ":" + tag
}

// Mode says where a tag is looked up.
type Mode string

// Modes of attribute image.resolvemode.
const (
	ModeDefault Mode = "default"
	ModePull    Mode = "pull"
	ModeLocal   Mode = "local"
)

func parseMode(v string) (Mode, error) {
	switch m := Mode(v); m {
	case "":
		return ModeDefault, nil
	case ModeDefault, ModePull, ModeLocal:
		return m, nil
	default:
		return "", fmt.Errorf("invalid resolvemode: %s: attribute %s is one of default, pull, local: %w", v, attrMode, errdefs.ErrInvalidArgument)
	}
}

// recordTypes by attribute.
var recordTypes = map[string]string{
	"": ref.TypeRegular, "regular": ref.TypeRegular, "internal": ref.TypeInternal, "frontend": ref.TypeFrontend,
}

// ParseSpec reads what schemes for images have in common; limitAttr is the
// name of the attribute that limits layers. Name is left to the caller.
func ParseSpec(id source.Identifier, limitAttr string) (Spec, error) {
	spec := Spec{Mode: ModePull}
	var ok bool
	if spec.RecordType, ok = recordTypes[id.Attrs[attrRecordType]]; !ok {
		return Spec{}, fmt.Errorf("invalid record type %q: attribute %s is one of regular, internal, frontend: %w",
			id.Attrs[attrRecordType], attrRecordType, errdefs.ErrInvalidArgument)
	}
	if v := id.Attrs[limitAttr]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 {
			return Spec{}, fmt.Errorf("invalid layer limit %q: attribute %s is a positive number: %w", v, limitAttr, errdefs.ErrInvalidArgument)
		}
		spec.Limit = &n
	}
	if id.Platform != nil {
		spec.Platform = *id.Platform
	} else {
		spec.Platform = platforms.DefaultSpec()
	}
	spec.Platform = platforms.Normalize(spec.Platform)
	return spec, nil
}
