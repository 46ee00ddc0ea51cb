package image

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/ref"
)

const (
	// maxDepth bounds indexes in indexes, maxDocuments what is read for one
	// image.
	maxDepth     = 3
	maxDocuments = 32
)

// resolved is an image of which all but the layers is known and there.
type resolved struct {
	root ocispecs.Descriptor
	// documents are the indexes, the manifest and the configuration.
	documents []ocispecs.Descriptor
	// config is the configuration as stored.
	config []byte
	layers []ref.Layer
	// chain identifies the layers; empty if there are none.
	chain digest.Digest
}

// walk reads the documents of one image.
type walk struct {
	p     *Puller
	spec  Spec
	from  Origin
	lease leases.Lease
	want  platforms.MatchComparer
	// read counts documents, so that an index cannot send us round for ever.
	read int
}

// resolve finds the root and reads what it names.
func (p *Puller) resolve(ctx context.Context, spec Spec, from Origin) (*resolved, error) {
	ctx, l, done, err := p.leased(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	w := &walk{p: p, spec: spec, from: from, lease: l, want: platforms.Only(spec.Platform)}
	if spec.Mode == ModeLocal {
		if r, err := w.local(ctx); err == nil {
			return r, spec.check(r.root)
		}
	}
	root, err := w.root(ctx)
	var r *resolved
	if err == nil {
		r, err = w.image(ctx, root)
	}
	if err != nil && spec.Mode == ModeDefault && ctx.Err() == nil {
		if local, lerr := w.local(ctx); lerr == nil {
			r, err = local, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return r, spec.check(r.root)
}

// check compares the root with what it must be.
func (s *Spec) check(root ocispecs.Descriptor) error {
	if s.Checksum != "" && root.Digest != s.Checksum {
		return fmt.Errorf("image digest %s for %s does not match expected checksum %s: %w",
			root.Digest, s.Name, s.Checksum, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// cameFromHere tells by the labels of a blob whether the spec's repository had
// it. Sources without a repository are asked for nothing else.
func (s *Spec) cameFromHere(of map[string]string) bool {
	if s.Repository == "" {
		return true
	}
	ref, err := reference.Parse(s.Repository)
	if err != nil {
		return false
	}
	host := url.URL{Host: ref.Hostname()}
	repositories := strings.Split(of[labels.LabelDistributionSource+"."+host.Hostname()], ",")
	return slices.Contains(repositories, strings.TrimPrefix(ref.Locator, ref.Hostname()+"/"))
}

// root finds what the reference names, without the network if it is a digest
// that is there and came from there: knowing a digest is no right to read what
// somebody else pulled from a registry that asks who one is.
func (w *walk) root(ctx context.Context) (ocispecs.Descriptor, error) {
	if d := w.spec.Digest; d != "" {
		if err := d.Validate(); err != nil {
			return ocispecs.Descriptor{}, fmt.Errorf("digest %q: %w: %w", d, err, errdefs.ErrInvalidArgument)
		}
		info, err := w.p.cfg.Content.Info(ctx, d)
		if err == nil && w.spec.cameFromHere(info.Labels) {
			return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: d, Size: info.Size}, nil
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return ocispecs.Descriptor{}, fmt.Errorf("look for blob %s: %w", d, err)
		}
	}
	desc, err := w.from.Resolve(ctx)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	if desc.MediaType == images.MediaTypeDockerSchema1Manifest {
		return ocispecs.Descriptor{}, fmt.Errorf("%s: %w", w.spec.Name, errSchema1)
	}
	if !images.IsManifestType(desc.MediaType) && !images.IsIndexType(desc.MediaType) {
		// Registries that do not know the type still serve it as a manifest.
		desc.MediaType = ocispecs.MediaTypeImageManifest
	}
	return desc, nil
}

// local finds the image in containerd's image store. All but the layers must
// be there, for the right platform.
func (w *walk) local(ctx context.Context) (*resolved, error) {
	if w.p.cfg.Images == nil || w.spec.LocalName == "" {
		return nil, errdefs.ErrNotFound
	}
	img, err := w.p.cfg.Images.Get(ctx, w.spec.LocalName)
	if err != nil {
		return nil, err
	}
	if w.spec.Digest != "" && img.Target.Digest != w.spec.Digest {
		return nil, errdefs.ErrNotFound
	}
	inside := *w
	inside.from, inside.read = nowhere{}, 0
	r, err := inside.image(ctx, img.Target)
	if err != nil {
		return nil, err
	}
	if err := inside.rightPlatform(r.config); err != nil {
		return nil, err
	}
	return r, nil
}

// image reads the documents below a root.
func (w *walk) image(ctx context.Context, root ocispecs.Descriptor) (*resolved, error) {
	r := &resolved{root: root}
	m, err := w.manifest(ctx, r, root, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.spec.Name, err)
	}
	if r.config == nil {
		if err := w.config(ctx, r, m); err != nil {
			return nil, fmt.Errorf("%s: %w", w.spec.Name, err)
		}
	}
	if err := w.layers(r, m); err != nil {
		return nil, fmt.Errorf("%s: %w", w.spec.Name, err)
	}
	return r, nil
}

// manifest reads a document and, if it is an index, those below it until one
// is a manifest for the platform.
func (w *walk) manifest(ctx context.Context, r *resolved, desc ocispecs.Descriptor, depth int) (*ocispecs.Manifest, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("indexes are nested more than %d deep: %w", maxDepth, errdefs.ErrResourceExhausted)
	}
	if w.read++; w.read > maxDocuments {
		return nil, fmt.Errorf("more than %d manifests may be for the platform: %w", maxDocuments, errdefs.ErrResourceExhausted)
	}
	b, err := w.p.document(ctx, w.lease, w.from, w.spec, desc, maxManifest)
	if err != nil {
		return nil, err
	}
	doc, err := decodeDocument(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	desc.MediaType = doc.mediaType()
	if depth == 0 {
		r.root.MediaType = desc.MediaType
	}
	r.documents = append(r.documents, desc)
	if doc.manifest != nil {
		if err := checkManifest(doc.manifest); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
		}
		return doc.manifest, nil
	}
	return w.choose(ctx, r, desc, doc.index, depth)
}

// choose finds the manifest of an index.
func (w *walk) choose(ctx context.Context, r *resolved, desc ocispecs.Descriptor, index *ocispecs.Index, depth int) (*ocispecs.Manifest, error) {
	for _, d := range candidates(index, w.want) {
		read := len(r.documents)
		m, err := w.manifest(ctx, r, d, depth+1)
		if err == nil && d.Platform == nil && r.config == nil {
			// An entry that does not say what it is for is asked.
			if err = w.config(ctx, r, m); err == nil {
				err = w.rightPlatform(r.config)
			}
		}
		if err == nil {
			return m, nil
		}
		// Entries that do not say what they are for need not be images.
		var other *platformError
		if !errors.As(err, &other) && !(d.Platform == nil && errdefs.IsInvalidArgument(err)) {
			return nil, err
		}
		r.documents, r.config = r.documents[:read], nil
	}
	return nil, &platformError{noMatch(desc.Digest, index, w.spec.Platform)}
}

// platformError says that what was read is for other platforms.
type platformError struct{ err error }

// Error returns the text.
func (e *platformError) Error() string { return e.err.Error() }

// Unwrap returns the kind.
func (e *platformError) Unwrap() error { return e.err }

// config reads the configuration of a manifest.
func (w *walk) config(ctx context.Context, r *resolved, m *ocispecs.Manifest) error {
	if w.read++; w.read > maxDocuments {
		return fmt.Errorf("more than %d manifests may be for the platform: %w", maxDocuments, errdefs.ErrResourceExhausted)
	}
	b, err := w.p.document(ctx, w.lease, w.from, w.spec, m.Config, maxConfig)
	if err != nil {
		return err
	}
	r.config = b
	r.documents = append(r.documents, m.Config)
	return nil
}

// rightPlatform reports a platformError if a configuration is for another one.
func (w *walk) rightPlatform(config []byte) error {
	p, err := configPlatform(config)
	if err != nil {
		return err
	}
	if !w.want.Match(p) {
		return &platformError{fmt.Errorf("image is for %s, want %s: %w",
			platforms.FormatAll(p), platforms.FormatAll(w.spec.Platform), errdefs.ErrNotFound)}
	}
	return nil
}

// layers lists the layers that are wanted.
func (w *walk) layers(r *resolved, m *ocispecs.Manifest) error {
	c, err := decodeConfig(r.config, m)
	if err != nil {
		return err
	}
	n := len(m.Layers)
	if l := w.spec.Limit; l != nil {
		if *l > n {
			return fmt.Errorf("layer limit %d is greater than the number of layers in the image %d: %w", *l, n, errdefs.ErrInvalidArgument)
		}
		n = *l
	}
	for i, d := range m.Layers[:n] {
		d.Data = nil
		r.layers = append(r.layers, ref.Layer{Descriptor: d, DiffID: c.RootFS.DiffIDs[i]})
	}
	if n > 0 {
		r.chain = identity.ChainID(c.RootFS.DiffIDs[:n])
	}
	return nil
}
