package imagestore

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kinds of variants.
const (
	KindImage       = "image"
	KindAttestation = "attestation"
	KindUnknown     = "unknown"
)

const (
	annotationType   = "vnd.docker.reference.type"
	annotationDigest = "vnd.docker.reference.digest"
)

// Variant is one manifest of an image.
type Variant struct {
	Descriptor ocispecs.Descriptor
	// Kind is one of the Kind constants.
	Kind string
	// For is what an attestation is about.
	For digest.Digest
	// Platform of an image; without fields if nobody says.
	Platform ocispecs.Platform
	// Available says that all blobs are here.
	Available bool
	// Content is how many bytes of blobs are here.
	Content int64
	// Manifest and Config are nil if they are not here; Config also for what is
	// no image.
	Manifest *ocispecs.Manifest
	Config   *dockerspec.DockerOCIImage
}

// ChainIDs are the names of the snapshots of an image, base first.
func (v *Variant) ChainIDs() []digest.Digest {
	if v.Config == nil {
		return nil
	}
	return identity.ChainIDs(append([]digest.Digest(nil), v.Config.RootFS.DiffIDs...))
}

// Variants returns the manifests of an image in the order of its index. A
// target that is not here has none.
func (s *Store) Variants(ctx context.Context, target ocispecs.Descriptor) ([]Variant, error) {
	var out []Variant
	err := s.variants(s.ctx(ctx), target, 0, &out)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("image %s: %w", target.Digest, err)
	}
	return out, nil
}

func (s *Store) variants(ctx context.Context, desc ocispecs.Descriptor, depth int, out *[]Variant) error {
	if !images.IsIndexType(desc.MediaType) {
		if len(*out) == maxDocuments {
			return fmt.Errorf("more than %d manifests: %w", maxDocuments, errdefs.ErrInvalidArgument)
		}
		v, err := s.variant(ctx, desc)
		if err == nil {
			*out = append(*out, v)
		}
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("indexes more than %d deep: %w", maxDepth, errdefs.ErrInvalidArgument)
	}
	data, err := s.document(ctx, desc, maxManifest)
	if err != nil {
		return err
	}
	below, err := children(desc, data)
	if err != nil {
		return err
	}
	for _, d := range below {
		// What is not here is a variant all the same, unless it is an index.
		if err := s.variants(ctx, d, depth+1, out); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// variant looks at one manifest.
func (s *Store) variant(ctx context.Context, desc ocispecs.Descriptor) (Variant, error) {
	v := Variant{Descriptor: desc, Kind: KindUnknown}
	if desc.Platform != nil {
		v.Platform = *desc.Platform
	}
	switch {
	case desc.Annotations[annotationType] == "attestation-manifest":
		v.Kind, v.For = KindAttestation, digest.Digest(desc.Annotations[annotationDigest])
	case images.IsManifestType(desc.MediaType) && v.Platform.OS != "unknown":
		v.Kind = KindImage
	}
	if !images.IsManifestType(desc.MediaType) {
		return v, nil
	}
	var m ocispecs.Manifest
	if err := s.decode(ctx, desc, maxManifest, &m); err != nil {
		if errdefs.IsNotFound(err) {
			return v, nil
		}
		return v, err
	}
	v.Manifest, v.Content, v.Available = &m, desc.Size, true
	for _, d := range append([]ocispecs.Descriptor{m.Config}, m.Layers...) {
		info, err := s.cfg.Content.Info(ctx, d.Digest)
		switch {
		case err == nil:
			v.Content += info.Size
		case errdefs.IsNotFound(err):
			v.Available = v.Available && images.IsNonDistributable(d.MediaType)
		default:
			return v, fmt.Errorf("look up blob %s: %w", d.Digest, err)
		}
	}
	return v, s.configure(ctx, &v)
}

// configure reads the configuration of an image, if it is one.
func (s *Store) configure(ctx context.Context, v *Variant) error {
	if v.Kind != KindImage || !images.IsConfigType(v.Manifest.Config.MediaType) {
		if v.Kind == KindImage {
			v.Kind = KindUnknown
		}
		return nil
	}
	var c dockerspec.DockerOCIImage
	if err := s.decode(ctx, v.Manifest.Config, maxConfig, &c); err != nil {
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	if len(c.RootFS.DiffIDs) == 0 && len(v.Manifest.Layers) > 0 {
		// No file system comes of it.
		v.Kind = KindUnknown
		return nil
	}
	v.Config = &c
	if v.Platform.OS == "" && v.Platform.Architecture == "" {
		v.Platform = c.Platform
	}
	return nil
}

// anyPlatform orders all platforms, those that the machine runs first.
type anyPlatform struct{ platforms.MatchComparer }

// Match accepts every platform.
func (anyPlatform) Match(ocispecs.Platform) bool { return true }

// Matcher returns how variants are chosen: for a platform, or with nil the one
// that runs best here, or else any.
func (s *Store) Matcher(p *ocispecs.Platform) platforms.MatchComparer {
	if p == nil {
		return anyPlatform{platforms.Only(s.cfg.Platform)}
	}
	return platforms.OnlyStrict(*p)
}

// Best returns the variant of an image for a platform; nil is whatever suits
// the machine best. Its configuration is here. The error of an image that has
// none is errdefs NotFound.
func (s *Store) Best(ctx context.Context, im images.Image, p *ocispecs.Platform) (Variant, error) {
	all, err := s.Variants(ctx, im.Target)
	if err != nil {
		return Variant{}, err
	}
	if best := s.Pick(all, p); best != nil {
		return *best, nil
	}
	return Variant{}, NoPlatform(Familiar(im), p)
}

// Pick is Best among given variants; nil if there is none.
func (s *Store) Pick(all []Variant, p *ocispecs.Platform) *Variant {
	match := s.Matcher(p)
	var best *Variant
	for i := range all {
		v := &all[i]
		if v.Kind != KindImage || v.Config == nil || !match.Match(v.Platform) {
			continue
		}
		if best == nil || v.Available && !best.Available || v.Available == best.Available && match.Less(v.Platform, best.Platform) {
			best = v
		}
	}
	return best
}

// NoPlatform is the error of an image that is not there for a platform; nil
// stands for any.
func NoPlatform(name string, p *ocispecs.Platform) error {
	what := "any platform"
	if p != nil {
		what = "the specified platform (" + platforms.FormatAll(*p) + ")"
	}
	return kind(errdefs.ErrNotFound, "image with reference %s was found but does not provide %s", name, what)
}

// Unpacked is how many bytes the snapshots of a chain take.
func (s *Store) Unpacked(ctx context.Context, chain []digest.Digest) (int64, error) {
	var total int64
	for _, id := range chain {
		n, err := s.SnapshotSize(ctx, id)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// SnapshotSize is how many bytes one snapshot takes itself; one that is not
// there takes none.
func (s *Store) SnapshotSize(ctx context.Context, chain digest.Digest) (int64, error) {
	u, err := s.cfg.Snapshotter.Usage(s.ctx(ctx), chain.String())
	if err != nil {
		if errdefs.IsNotFound(err) {
			return 0, nil
		}
		return 0, fmt.Errorf("measure snapshot %s: %w", chain, err)
	}
	return u.Size, nil
}
