package image

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/registry"
)

// pusher uploads one image, possibly under several names.
type pusher struct {
	cfg *Config
	settings
	image   *manifest.Image
	env     solver.Env
	uploads *uploads
}

// push uploads the image under a name: what manifests name before the
// manifests, the root last, so that a name at a registry never leads to half
// an image.
func (p *pusher) push(ctx context.Context, name string) error {
	ctx = namespaces.WithNamespace(ctx, p.cfg.Namespace)
	repo, named, tagged, err := p.open(name)
	if err != nil {
		return err
	}
	if err := p.pushBlobs(ctx, repo, named); err != nil {
		return err
	}
	root := p.image.Descriptor
	defer progress.Status(p.env, fmt.Sprintf("pushing manifest for %s@%s", named, root.Digest), "").Done()
	for _, m := range p.image.Children() {
		if err := repo.Push(ctx, m, p.cfg.Content, nil); err != nil {
			return err
		}
	}
	if !tagged {
		return repo.Push(ctx, root, p.cfg.Content, nil)
	}
	return repo.PushTag(ctx, root, p.cfg.Content)
}

// open returns the repository that a name stands for.
func (p *pusher) open(name string) (*registry.Repository, reference.Named, bool, error) {
	named, tagged, err := p.parse(name)
	if err != nil {
		return nil, nil, false, err
	}
	repo, err := p.cfg.Registry.Repository(named.String(), registry.Options{Sessions: p.env.Sessions, Insecure: p.insecure})
	return repo, named, tagged, err
}

// parse reads a name and tells whether the image gets a tag at the registry.
func (p *pusher) parse(name string) (reference.Named, bool, error) {
	parsed, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, false, fmt.Errorf("parse image name: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if !p.pushByDigest {
		named := reference.TagNameOnly(parsed)
		_, tagged := named.(reference.Tagged)
		return named, tagged, nil
	}
	if !reference.IsNameOnly(parsed) {
		return nil, false, fmt.Errorf("can't push tagged ref %s by digest: %w", parsed, errdefs.ErrInvalidArgument)
	}
	return parsed, false, nil
}

// pushBlobs uploads what manifests name.
func (p *pusher) pushBlobs(ctx context.Context, repo *registry.Repository, named reference.Named) error {
	defer progress.Status(p.env, "pushing layers", "").Done()
	return p.blobs(ctx, repo, named, p.image.Blobs())
}

// blobs uploads layers and configurations, each once. The registry client
// bounds how many at a time.
func (p *pusher) blobs(ctx context.Context, repo *registry.Repository, named reference.Named, list []ocispecs.Descriptor) error {
	remember, err := docker.AppendDistributionSourceLabel(p.cfg.Content, named.String())
	if err != nil {
		return fmt.Errorf("name repository %s: %w", named, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, desc := range list {
		if images.IsNonDistributable(desc.MediaType) {
			continue
		}
		group.Go(func() error {
			key := repo.Name() + " " + desc.Digest.String()
			if err := p.uploads.do(ctx, key, func() error { return p.blob(ctx, repo, desc) }); err != nil {
				return err
			}
			if images.IsLayerType(desc.MediaType) {
				// A label less costs an upload some day, nothing else.
				if _, err := remember(ctx, desc); err != nil {
					log.G(ctx).WithError(err).Warnf("note where layer %s was pushed", desc.Digest)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// blob uploads one blob, or has the registry take it from another of its
// repositories that is known to have it.
func (p *pusher) blob(ctx context.Context, repo *registry.Repository, desc ocispecs.Descriptor) error {
	info, err := p.cfg.Content.Info(ctx, desc.Digest)
	if err != nil {
		return fmt.Errorf("look up blob %s: %w", desc.Digest, err)
	}
	desc.Annotations = sources(info)
	return repo.Push(ctx, desc, p.cfg.Content, nil)
}

// sources are the labels that tell which repositories have a blob.
func sources(info content.Info) map[string]string {
	m := maps.Clone(info.Labels)
	maps.DeleteFunc(m, func(k, _ string) bool {
		return !strings.HasPrefix(k, labels.LabelDistributionSource+".")
	})
	return m
}
