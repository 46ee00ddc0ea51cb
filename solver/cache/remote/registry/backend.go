package registry

import (
	"context"
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/cache/remote/artifact"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
)

// Names of attributes.
const (
	attrRef      = "ref"
	attrInsecure = "registry.insecure"
)

// Backend is the cache type "registry".
type Backend struct {
	client *registry.Client
	labels func(ctx context.Context, desc ocispecs.Descriptor) map[string]string
}

var _ remote.Backend = (*Backend)(nil)

// New returns the backend. labels, optional, returns the labels of a blob in
// the local content store, which tell which repositories have it.
func New(client *registry.Client, labels func(ctx context.Context, desc ocispecs.Descriptor) map[string]string) *Backend {
	if labels == nil {
		labels = func(context.Context, ocispecs.Descriptor) map[string]string { return nil }
	}
	return &Backend{client: client, labels: labels}
}

// repository opens the repository that attributes name.
func (b *Backend) repository(attrs map[string]string, env solver.Env) (*registry.Repository, error) {
	name, err := reference.ParseNormalizedNamed(attrs[attrRef])
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w: %w", attrRef, attrs[attrRef], err, errdefs.ErrInvalidArgument)
	}
	insecure := false
	if v, ok := attrs[attrInsecure]; ok {
		if insecure, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("failed to parse %s: %q is no bool: %w", attrInsecure, v, errdefs.ErrInvalidArgument)
		}
	}
	return b.client.Repository(reference.TagNameOnly(name).String(), registry.Options{Sessions: env.Sessions, Insecure: insecure})
}

// Exporter implements remote.Backend.
func (b *Backend) Exporter(_ context.Context, attrs map[string]string, env solver.Env) (remote.Exporter, error) {
	opts, err := artifact.ParseOptions(attrs)
	if err != nil {
		return nil, err
	}
	repo, err := b.repository(attrs, env)
	if err != nil {
		return nil, err
	}
	return &exporter{backend: b, repo: repo, opts: opts}, nil
}

// exporter writes to one tag.
type exporter struct {
	backend *Backend
	repo    *registry.Repository
	opts    artifact.Options
}

// Name implements remote.Exporter.
func (e *exporter) Name() string { return "exporting cache to registry" }

// Layers implements remote.Exporter.
func (e *exporter) Layers() ref.LayerOptions { return e.opts.Layers }

// Export implements remote.Exporter.
func (e *exporter) Export(ctx context.Context, b *remote.Bundle, blobs content.Provider, env solver.Env) (map[string]string, error) {
	return artifact.Write(ctx, e.opts, b, blobs, e, env)
}

// Blob implements artifact.Target.
func (e *exporter) Blob(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	desc.Annotations = e.backend.labels(ctx, desc)
	return e.repo.Push(ctx, desc, from, nil)
}

// Root implements artifact.Target.
func (e *exporter) Root(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	return e.repo.PushTag(ctx, desc, from)
}

// Importer implements remote.Backend.
func (b *Backend) Importer(_ context.Context, attrs map[string]string, env solver.Env) (remote.Importer, error) {
	repo, err := b.repository(attrs, env)
	if err != nil {
		return nil, err
	}
	return &importer{repo}, nil
}

// importer reads one tag.
type importer struct{ repo *registry.Repository }

// Import implements remote.Importer.
func (i *importer) Import(ctx context.Context, env solver.Env) ([]*remote.Table, error) {
	root, err := i.repo.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	from := &remote.Origin{Blobs: i.repo, Name: i.repo.Name(), Repository: i.repo.Name()}
	return artifact.Read(ctx, root, from, env)
}
