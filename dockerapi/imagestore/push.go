package imagestore

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver/registry"
)

// Push sends an image to the registry of its name. A name without tag and
// digest stands for all tags that are here.
func (s *Store) Push(ctx context.Context, ref reference.Named, opt TransferOptions) error {
	out := &reporter{out: opt.Out}
	out.status("", fmt.Sprintf("The push refers to repository [%s]", ref.Name()))
	if !reference.IsNameOnly(ref) {
		return s.pushOne(ctx, ref, opt, out)
	}
	all, err := s.Repository(ctx, ref)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return kind(errdefs.ErrNotFound, "An image does not exist locally with the tag: %s", reference.FamiliarName(ref))
	}
	for _, im := range all {
		tagged, err := reference.ParseNormalizedNamed(im.Name)
		if err != nil {
			continue
		}
		if err := s.pushOne(ctx, tagged, opt, out); err != nil {
			return err
		}
	}
	return nil
}

// pushOne sends one tag or digest.
func (s *Store) pushOne(ctx context.Context, ref reference.Named, opt TransferOptions, out *reporter) (err error) {
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer func() { release(false) }()
	im, err := s.cfg.Images.Get(ctx, ref.String())
	if errdefs.IsNotFound(err) {
		return kind(errdefs.ErrNotFound, "tag does not exist: %s", reference.FamiliarString(ref))
	}
	if err != nil {
		return fmt.Errorf("look up image %s: %w", ref, err)
	}
	target, err := s.transferable(ctx, im, opt.Platform)
	if err != nil {
		if errdefs.IsNotFound(err) && opt.Platform == nil {
			out.aux(map[string]any{"contentMissing": true, "desc": im.Target})
		}
		return err
	}
	repo, err := s.repository(ref, opt.Credentials)
	if err != nil {
		return err
	}
	p := &pusher{store: s, repo: repo, ref: ref, out: out}
	if err := p.run(ctx, target); err != nil {
		return err
	}
	s.announce(ctx, "push", reference.FamiliarString(ref), reference.FamiliarName(ref))
	if t, ok := ref.(reference.Tagged); ok {
		out.status("", fmt.Sprintf("%s: digest: %s size: %d", t.Tag(), target.Digest, target.Size))
	}
	if target.Digest != im.Target.Digest && opt.Platform == nil {
		out.aux(map[string]any{"manifestPushedInsteadOfIndex": true, "originalIndex": im.Target, "selectedManifest": target})
	}
	return nil
}

// transferable is what of an image can be given away: all of it if it is here,
// else the one manifest that is. Whatever it returns is held by the lease.
func (s *Store) transferable(ctx context.Context, im images.Image, p *ocispecs.Platform) (ocispecs.Descriptor, error) {
	if err := s.lease(ctx, im.Target); err != nil {
		return ocispecs.Descriptor{}, err
	}
	all, err := s.Variants(ctx, im.Target)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	match := s.Matcher(p)
	var fit []*Variant
	whole := len(all) > 0
	for i := range all {
		v := &all[i]
		whole = whole && v.Available
		if v.Available && v.Kind == KindImage && match.Match(v.Platform) {
			fit = append(fit, v)
		}
	}
	switch {
	case p == nil && whole:
		return im.Target, nil
	case len(fit) == 0:
		return ocispecs.Descriptor{}, NoPlatform(Familiar(im), p)
	case len(fit) == 1:
		return fit[0].Descriptor, nil
	case p != nil:
		return ocispecs.Descriptor{}, kind(errdefs.ErrConflict, "multiple manifests found for platform %s", platforms.FormatAll(*p))
	}
	if best := s.Pick(all, &s.cfg.Platform); best != nil && best.Available {
		return best.Descriptor, nil
	}
	return ocispecs.Descriptor{}, kind(errdefs.ErrConflict, "multiple matching manifests found but no specific platform requested")
}

// pusher sends one image.
type pusher struct {
	store *Store
	repo  *registry.Repository
	ref   reference.Named
	out   *reporter
}

// run sends what manifests name before the manifests, the root last, so that a
// name at a registry never leads to half an image.
func (p *pusher) run(ctx context.Context, root ocispecs.Descriptor) error {
	var blobs, documents []ocispecs.Descriptor
	err := p.store.walk(ctx, root, func(d ocispecs.Descriptor) error {
		switch {
		case isDocument(d):
			documents = append(documents, d)
		case !images.IsNonDistributable(d.MediaType):
			blobs = append(blobs, d)
		}
		return nil
	}, func(d ocispecs.Descriptor) error {
		if images.IsNonDistributable(d.MediaType) {
			return nil
		}
		return fmt.Errorf("blob %s of the image is not here: %w", d.Digest, errdefs.ErrNotFound)
	})
	if err != nil {
		return err
	}
	if err := p.blobs(ctx, blobs); err != nil {
		return err
	}
	for i := len(documents) - 1; i > 0; i-- {
		if err := p.repo.Push(ctx, documents[i], p.store.cfg.Content, nil); err != nil {
			return err
		}
	}
	if _, ok := p.ref.(reference.Tagged); ok {
		return p.repo.PushTag(ctx, root, p.store.cfg.Content)
	}
	return p.repo.Push(ctx, root, p.store.cfg.Content, nil)
}

// blobs sends layers and configurations.
func (p *pusher) blobs(ctx context.Context, all []ocispecs.Descriptor) error {
	remember, err := docker.AppendDistributionSourceLabel(p.store.cfg.Content, p.ref.String())
	if err != nil {
		return fmt.Errorf("name repository %s: %w", p.ref, err)
	}
	for _, d := range all {
		if images.IsLayerType(d.MediaType) {
			p.out.layer(d, "Preparing")
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxTransfers)
	for i, d := range all {
		if i >= maxTransfers && images.IsLayerType(d.MediaType) {
			p.out.layer(d, "Waiting")
		}
		group.Go(func() error {
			if err := p.blob(ctx, d); err != nil {
				return err
			}
			// A label less costs an upload some day, nothing else.
			if _, err := remember(ctx, d); err != nil && ctx.Err() == nil {
				log.G(ctx).WithError(err).Warnf("note where blob %s was pushed", d.Digest)
			}
			return nil
		})
	}
	return group.Wait()
}

// blob sends one blob, or has the registry take it from another of its
// repositories that is known to have it.
func (p *pusher) blob(ctx context.Context, d ocispecs.Descriptor) error {
	info, err := p.store.cfg.Content.Info(ctx, d.Digest)
	if err != nil {
		return fmt.Errorf("look up blob %s: %w", d.Digest, err)
	}
	d.Annotations = maps.Clone(info.Labels)
	maps.DeleteFunc(d.Annotations, func(k, _ string) bool { return !strings.HasPrefix(k, labels.LabelDistributionSource+".") })
	count := p.out.counter(d, "Pushing")
	if !images.IsLayerType(d.MediaType) {
		return p.repo.Push(ctx, d, p.store.cfg.Content, nil)
	}
	how, err := p.repo.Upload(ctx, d, p.store.cfg.Content, count.add)
	switch {
	case err != nil:
		return err
	case how.From != "":
		from := how.From
		if ref, err := reference.ParseNormalizedNamed(from); err == nil {
			from = reference.Path(ref)
		}
		p.out.layer(d, "Mounted from "+from)
	case how.There:
		p.out.layer(d, "Layer already exists")
	default:
		p.out.layer(d, "Pushed")
	}
	return nil
}
