package manifest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export/attest"
)

// How clients find the attestations of an image in its index
// (https://docs.docker.com/build/metadata/attestations/attestation-storage/).
const (
	artifactType             = "application/vnd.docker.attestation.manifest.v1+json"
	annotationRefType        = "vnd.docker.reference.type"
	annotationRefDigest      = "vnd.docker.reference.digest"
	refTypeAttestation       = "attestation-manifest"
	annotationPredicateType  = "in-toto.io/predicate-type"
	unknownPlatformComponent = "unknown"
)

// attest writes the statements about the manifest of a part, and a manifest
// that lists them.
func (a *Assembler) attest(ctx context.Context, p *part, m *Manifest, o Options, env solver.Env) error {
	if len(p.Attestations) == 0 {
		return nil
	}
	docs, err := attest.Open(ctx, p.Attestations, m.Layers)
	if err != nil {
		return fmt.Errorf("attestations of %s: %w", p.ID, err)
	}
	self, err := attest.ImageSubjects(o.Names, p.Platform.Platform, m.Descriptor.Digest)
	if err != nil {
		return err
	}
	var statements []ocispecs.Descriptor
	for _, d := range docs {
		if err := d.Supplement(ctx, p.locate, a.Creator); err != nil {
			return err
		}
		desc, err := a.statement(ctx, d.Statement(self))
		if err != nil {
			return err
		}
		statements = append(statements, desc)
	}
	m.Attestation, err = a.attestationManifest(ctx, m.Descriptor, statements, o, env)
	return err
}

// statement writes one statement.
func (a *Assembler) statement(ctx context.Context, s attest.Statement) (ocispecs.Descriptor, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("encode statement of type %s: %w", s.PredicateType, err)
	}
	desc, err := a.write(ctx, attest.MediaType, data, nil)
	desc.Annotations = map[string]string{annotationPredicateType: s.PredicateType}
	return desc, err
}

// attestationManifest writes the manifest that holds statements about target:
// an artifact that refers to it, or in the form of an image for an unknown
// platform, which older registries take as well.
func (a *Assembler) attestationManifest(
	ctx context.Context, target ocispecs.Descriptor, statements []ocispecs.Descriptor, o Options, env solver.Env,
) (*Attestation, error) {
	m := ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: ocispecs.DescriptorEmptyJSON, Layers: statements,
	}
	config := m.Config.Data
	if o.Artifact {
		m.ArtifactType = artifactType
		m.Subject = &ocispecs.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size}
	} else {
		var err error
		if config, err = attestationConfig(statements); err != nil {
			return nil, err
		}
	}
	mediaType := ocispecs.MediaTypeImageConfig
	if o.Artifact {
		mediaType = ocispecs.MediaTypeEmptyJSON
	}
	written, err := a.write(ctx, mediaType, config, nil)
	if err != nil {
		return nil, err
	}
	if !o.Artifact {
		m.Config = written
	}
	blobs := append([]ocispecs.Descriptor{written}, statements...)
	done := status(env, "exporting attestation manifest ")
	desc, err := a.writeJSON(ctx, m.MediaType, m, blobs)
	done(desc.Digest)
	desc.Platform = &ocispecs.Platform{OS: unknownPlatformComponent, Architecture: unknownPlatformComponent}
	desc.Annotations = map[string]string{
		annotationRefType:   refTypeAttestation,
		annotationRefDigest: target.Digest.String(),
	}
	return &Attestation{Descriptor: desc, Blobs: blobs}, err
}

// attestationConfig is the configuration of an image whose layers are
// statements.
func attestationConfig(statements []ocispecs.Descriptor) ([]byte, error) {
	image := ocispecs.Image{
		Platform: ocispecs.Platform{OS: unknownPlatformComponent, Architecture: unknownPlatformComponent},
		RootFS:   ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	for _, s := range statements {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, s.Digest)
	}
	data, err := json.Marshal(image)
	if err != nil {
		return nil, fmt.Errorf("encode configuration of attestations: %w", err)
	}
	return data, nil
}
