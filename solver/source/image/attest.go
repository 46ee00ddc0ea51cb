package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/source"
)

// Names in indexes that hold attestations, and types of what signs them.
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	referenceAttestation      = "attestation-manifest"
	annotationPredicateType   = "in-toto.io/predicate-type"

	typeSigstoreBundle  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	typeCosignSignature = "application/vnd.dev.cosign.artifact.sig.v1+json"
)

// maxChain bounds the documents of one chain together, in bytes: it has to fit
// into one message to the client.
const maxChain = 12 << 20

// Referrer is implemented by origins that know which documents refer to one.
type Referrer interface {
	// Referrers returns the documents whose subject is d, without their bytes;
	// none if the origin does not keep such a list.
	Referrers(ctx context.Context, d digest.Digest) ([]ocispecs.Descriptor, error)
}

// chain is a source.AttestationChain being put together.
type chain struct {
	p     *Puller
	spec  Spec
	from  Origin
	lease leases.Lease
	out   *source.AttestationChain
	size  int64
}

// attestations leads from a resolved image to what is attested of it, with the
// bytes of statements of some predicate types.
func (p *Puller) attestations(ctx context.Context, spec Spec, from Origin, r *resolved, types []string) (*source.AttestationChain, error) {
	ctx, l, done, err := p.leased(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	c := &chain{p: p, spec: spec, from: from, lease: l, out: &source.AttestationChain{
		Root: r.root.Digest, ImageManifest: r.manifest().Digest, Blobs: map[digest.Digest]source.Blob{},
	}}
	root, err := c.document(ctx, r.documents[0])
	if err != nil {
		return nil, fmt.Errorf("%s: attestations: %w", spec.Name, err)
	}
	if root.index == nil {
		return c.out, nil
	}
	for _, d := range root.index.Manifests {
		if d.Annotations[annotationReferenceType] == referenceAttestation &&
			d.Annotations[annotationReferenceDigest] == c.out.ImageManifest.String() {
			if err := c.attestation(ctx, d, types); err != nil {
				return nil, fmt.Errorf("%s: attestations: %w", spec.Name, err)
			}
			break
		}
	}
	return c.out, nil
}

// attestation adds an attestation manifest, who signs it, and the statements
// that are wanted.
func (c *chain) attestation(ctx context.Context, desc ocispecs.Descriptor, types []string) error {
	m, err := c.manifest(ctx, desc)
	if err != nil {
		return err
	}
	c.out.AttestationManifest = desc.Digest
	if err := c.signature(ctx, desc.Digest); err != nil {
		return fmt.Errorf("signature of %s: %w", desc.Digest, err)
	}
	for _, l := range m.Layers {
		if t := l.Annotations[annotationPredicateType]; t == "" || !slices.Contains(types, t) {
			continue
		}
		if _, err := c.blob(ctx, l); err != nil {
			return fmt.Errorf("statement: %w", err)
		}
	}
	return nil
}

// signature adds the document that signs another, with its layers. One is
// enough: bundles say more than bare signatures and are preferred.
func (c *chain) signature(ctx context.Context, subject digest.Digest) error {
	r, ok := c.from.(Referrer)
	if !ok {
		return nil
	}
	all, err := r.Referrers(ctx, subject)
	if err != nil {
		return err
	}
	at := -1
	for _, want := range []string{typeSigstoreBundle, typeCosignSignature} {
		if at = slices.IndexFunc(all, func(d ocispecs.Descriptor) bool { return d.ArtifactType == want }); at >= 0 {
			break
		}
	}
	if at < 0 {
		return nil
	}
	m, err := c.manifest(ctx, all[at])
	if err != nil {
		return err
	}
	c.out.SignatureManifests = []digest.Digest{all[at].Digest}
	for _, l := range m.Layers {
		if _, err := c.blob(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// manifest adds a manifest and reads it.
func (c *chain) manifest(ctx context.Context, desc ocispecs.Descriptor) (*ocispecs.Manifest, error) {
	d, err := c.document(ctx, desc)
	if err != nil {
		return nil, err
	}
	if d.manifest == nil {
		return nil, fmt.Errorf("%s is an index, want a manifest: %w", desc.Digest, errdefs.ErrInvalidArgument)
	}
	return d.manifest, nil
}

func (c *chain) document(ctx context.Context, desc ocispecs.Descriptor) (document, error) {
	if !images.IsManifestType(desc.MediaType) && !images.IsIndexType(desc.MediaType) {
		return document{}, fmt.Errorf("%s is of type %q, want a manifest: %w", desc.Digest, desc.MediaType, errdefs.ErrInvalidArgument)
	}
	b, err := c.blob(ctx, desc)
	if err != nil {
		return document{}, err
	}
	d, err := decodeDocument(b)
	if err != nil {
		return document{}, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	return d, nil
}

// blob adds a blob's bytes, which match its digest.
func (c *chain) blob(ctx context.Context, desc ocispecs.Descriptor) ([]byte, error) {
	if have, ok := c.out.Blobs[desc.Digest]; ok {
		return have.Data, nil
	}
	if c.size += desc.Size; c.size > maxChain || desc.Size < 0 {
		return nil, fmt.Errorf("attestations have more than %d bytes: %w", maxChain, errdefs.ErrResourceExhausted)
	}
	b, err := c.p.document(ctx, c.lease, c.from, c.spec, desc, maxChain)
	if err != nil {
		return nil, err
	}
	desc.Data, desc.URLs = nil, nil
	c.out.Blobs[desc.Digest] = source.Blob{Descriptor: desc, Data: b}
	return b, nil
}

// manifest is the one for the platform: the last document before the
// configuration.
func (r *resolved) manifest() ocispecs.Descriptor {
	for _, d := range slices.Backward(r.documents) {
		if images.IsManifestType(d.MediaType) {
			return d
		}
	}
	return r.root
}
