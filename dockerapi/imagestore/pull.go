package imagestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/registry"
)

// TransferOptions say how an image is pulled or pushed.
type TransferOptions struct {
	// Platform chooses one variant; nil is the machine's for a pull, and all
	// that are here for a push.
	Platform *ocispecs.Platform
	// Credentials are for the image's registry.
	Credentials route.Credentials
	// Out takes messages.
	Out Output
}

// Pull brings an image from its registry and unpacks it. A name without tag and
// digest stands for all tags. Errors are errdefs NotFound for what the registry
// does not have or show, InvalidArgument for what is no image.
func (s *Store) Pull(ctx context.Context, ref reference.Named, opt TransferOptions) error {
	if reference.FamiliarName(ref) == "scratch" {
		return kind(errdefs.ErrPermissionDenied, "'scratch' is a reserved name")
	}
	if !reference.IsNameOnly(ref) {
		return s.pullOne(ctx, ref, opt)
	}
	repo, err := s.repository(reference.TagNameOnly(ref), opt.Credentials)
	if err != nil {
		return err
	}
	tags, err := repo.Tags(ctx)
	if err != nil {
		return pullError(ref, opt, err)
	}
	for _, t := range tags {
		tagged, err := reference.WithTag(ref, t)
		if err != nil {
			continue
		}
		if err := s.pullOne(ctx, tagged, opt); err != nil {
			return fmt.Errorf("error pulling %s: %w", reference.FamiliarString(tagged), err)
		}
	}
	return nil
}

// pullOne brings one tag or digest.
func (s *Store) pullOne(ctx context.Context, ref reference.Named, opt TransferOptions) (err error) {
	repo, err := s.repository(ref, opt.Credentials)
	if err != nil {
		return err
	}
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer func() { release(err != nil) }()
	p := &puller{store: s, repo: repo, ref: ref, opt: opt, out: &reporter{out: opt.Out}}
	root, err := p.run(ctx)
	if err != nil {
		return pullError(ref, opt, err)
	}
	old, _ := s.cfg.Images.Get(ctx, ref.String())
	if err := s.put(ctx, ref.String(), root, old.Labels); err != nil {
		return err
	}
	if err := s.sync(ctx); err != nil {
		return err
	}
	s.announce(ctx, "pull", reference.FamiliarString(ref), reference.FamiliarName(ref))
	p.out.status("", "Digest: "+root.Digest.String())
	text := "Status: Downloaded newer image for "
	if old.Target.Digest == root.Digest {
		text = "Status: Image is up to date for "
	}
	p.out.status("", text+reference.FamiliarString(ref))
	return nil
}

// errNoVariant is the error of an index without a manifest for the platform.
var errNoVariant = errors.New("no match for platform in manifest")

// pullError words an error as clients know it.
func pullError(ref reference.Named, opt TransferOptions, err error) error {
	switch {
	case errors.Is(err, errNoVariant):
		p := platforms.DefaultSpec()
		if opt.Platform != nil {
			p = *opt.Platform
		}
		return kind(errdefs.ErrNotFound, "no matching manifest for %s in the manifest list entries: %s", platforms.FormatAll(p), err)
	case errdefs.IsPermissionDenied(err):
		return kind(errdefs.ErrNotFound, "pull access denied for %s, repository does not exist or may require 'docker login': %s",
			reference.FamiliarName(ref), err)
	case errdefs.IsNotFound(err):
		return kind(errdefs.ErrNotFound, "manifest for %s not found: manifest unknown: %s", reference.FamiliarString(ref), err)
	}
	return err
}

// puller brings one image.
type puller struct {
	store *Store
	repo  *registry.Repository
	ref   reference.Named
	opt   TransferOptions
	out   *reporter
}

// run brings the image and returns its root.
func (p *puller) run(ctx context.Context) (ocispecs.Descriptor, error) {
	root, err := p.repo.Resolve(ctx)
	if err != nil {
		return root, err
	}
	id := p.ref.String()
	if t, ok := p.ref.(reference.Tagged); ok {
		id = t.Tag()
	}
	if !isDocument(root) {
		return root, kind(errdefs.ErrInvalidArgument, "unsupported media type %s", root.MediaType)
	}
	v, err := p.choose(ctx, root, 0)
	if err != nil {
		return root, err
	}
	if v == nil {
		return root, errNoVariant
	}
	p.out.status(id, "Pulling from "+reference.Path(p.ref))
	out := p.out
	defer func() { p.out = out }()
	return root, p.layers(ctx, v)
}

// fetch brings a document and ties what it names to it.
func (p *puller) fetch(ctx context.Context, desc ocispecs.Descriptor, limit int64) ([]ocispecs.Descriptor, error) {
	if desc.Size > limit {
		return nil, kind(errdefs.ErrInvalidArgument, "blob %s has %d bytes, more than the limit of %d", desc.Digest, desc.Size, limit)
	}
	if err := p.store.puller.Transfer(ctx, origin{repo: p.repo}, p.ref.String(), p.ref.String(), desc); err != nil {
		return nil, err
	}
	data, err := p.store.document(ctx, desc, limit)
	if err != nil || !isDocument(desc) {
		return nil, err
	}
	below, err := children(desc, data)
	if err != nil {
		return nil, err
	}
	return below, p.store.tie(ctx, desc, below)
}

// tie has a document keep what it names.
func (s *Store) tie(ctx context.Context, desc ocispecs.Descriptor, below []ocispecs.Descriptor) error {
	list := images.HandlerFunc(func(context.Context, ocispecs.Descriptor) ([]ocispecs.Descriptor, error) { return below, nil })
	if _, err := images.SetChildrenLabels(s.cfg.Content, list)(ctx, desc); err != nil {
		return fmt.Errorf("keep what %s names: %w", desc.Digest, err)
	}
	return nil
}

// choose brings the documents down to the configuration for the platform; nil
// if there is none for it.
func (p *puller) choose(ctx context.Context, desc ocispecs.Descriptor, depth int) (*Variant, error) {
	if depth > maxDepth {
		return nil, kind(errdefs.ErrInvalidArgument, "image %s has indexes more than %d deep", p.ref, maxDepth)
	}
	below, err := p.fetch(ctx, desc, maxManifest)
	if err != nil {
		return nil, err
	}
	if images.IsManifestType(desc.MediaType) {
		return p.manifest(ctx, desc, below[0], depth > 0)
	}
	for tried, d := range p.candidates(below) {
		if tried == maxTries {
			break
		}
		v, err := p.choose(ctx, d, depth+1)
		if v != nil || err != nil {
			return v, err
		}
	}
	return nil, nil
}

// maxTries bounds how many entries of one index are looked into.
const maxTries = 16

// wanted is the platform that is pulled.
func (p *puller) wanted() platforms.MatchComparer {
	if p.opt.Platform != nil {
		return platforms.Only(*p.opt.Platform)
	}
	return platforms.Only(p.store.cfg.Platform)
}

// candidates are the entries of an index that may be for the platform: the best
// of those that say so, then those that do not say.
func (p *puller) candidates(all []ocispecs.Descriptor) []ocispecs.Descriptor {
	match := p.wanted()
	var best *ocispecs.Descriptor
	var silent []ocispecs.Descriptor
	for i := range all {
		d := &all[i]
		switch {
		case !isDocument(*d):
		case d.Platform == nil:
			silent = append(silent, *d)
		case match.Match(*d.Platform) && (best == nil || match.Less(*d.Platform, *best.Platform)):
			best = d
		}
	}
	if best != nil {
		return append([]ocispecs.Descriptor{*best}, silent...)
	}
	return silent
}

// manifest brings the configuration. In an index one for another platform is
// passed over; alone it is what was asked for, unless a platform was, too.
func (p *puller) manifest(ctx context.Context, desc, config ocispecs.Descriptor, inIndex bool) (*Variant, error) {
	if !images.IsConfigType(config.MediaType) {
		return nil, kind(errdefs.ErrInvalidArgument, "unsupported media type %s: this is no image that can be run", config.MediaType)
	}
	if _, err := p.fetch(ctx, config, maxConfig); err != nil {
		return nil, err
	}
	v, err := p.store.variant(ctx, desc)
	if err != nil {
		return nil, err
	}
	if v.Config == nil {
		return nil, kind(errdefs.ErrInvalidArgument, "manifest %s is no image that can be run", desc.Digest)
	}
	if (inIndex || p.opt.Platform != nil) && v.Platform.OS != "" && !p.wanted().Match(v.Platform) {
		return nil, nil
	}
	return &v, nil
}
