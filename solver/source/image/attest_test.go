package image

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/source"
)

// listing is a fake registry that lists referrers.
type listing struct {
	*fake
	referrers map[digest.Digest][]ocispecs.Descriptor
}

func newListing(t testing.TB) *listing {
	l := &listing{fake: newFake(t), referrers: map[digest.Digest][]ocispecs.Descriptor{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			l.fake.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
		_ = json.NewEncoder(w).Encode(ocispecs.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: l.referrers[digest.Digest(path.Base(r.URL.Path))],
		})
	}))
	t.Cleanup(s.Close)
	l.addr = s.Listener.Addr().String()
	return l
}

// artifact stores a manifest of layers that is no image.
func (l *listing) artifact(kind string, layers ...ocispecs.Descriptor) ocispecs.Descriptor {
	d := l.add(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: kind,
		Config: l.add(ocispecs.MediaTypeEmptyJSON, []byte("{}")), Layers: layers,
	})
	d.ArtifactType = kind
	return d
}

// statement stores what says something of a kind.
func (l *listing) statement(predicate, body string) ocispecs.Descriptor {
	d := l.add("application/vnd.in-toto+json", []byte(body))
	d.Annotations = map[string]string{annotationPredicateType: predicate}
	return d
}

// attested is an image with provenance, a bill of materials and signatures.
type attested struct {
	root, image, attestation, bundle, provenance, sbom, signature ocispecs.Descriptor
}

func (l *listing) attested(t testing.TB) attested {
	a := attested{
		image:      goodParts(t, l.fake).push(l.fake),
		provenance: l.statement("https://slsa.dev/provenance/v1", `{"built":"here"}`),
		sbom:       l.statement("https://spdx.dev/Document", `{"has":"things"}`),
		signature:  l.add(typeSigstoreBundle, []byte(`{"signed":true}`)),
	}
	a.attestation = l.artifact("application/vnd.docker.attestation.manifest.v1+json", a.provenance, a.sbom)
	a.bundle = l.artifact(typeSigstoreBundle, a.signature)
	l.referrers[a.attestation.Digest] = []ocispecs.Descriptor{
		l.artifact("text/plain", l.add("text/plain", []byte("hello"))), l.artifact(typeCosignSignature, a.signature, a.signature), a.bundle,
	}
	image, attestation, stray := a.image, a.attestation, a.attestation
	image.Platform = &native
	attestation.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	attestation.Annotations = map[string]string{
		annotationReferenceType: referenceAttestation, annotationReferenceDigest: image.Digest.String(),
	}
	stray.Platform = attestation.Platform
	stray.Annotations = map[string]string{annotationReferenceType: referenceAttestation, annotationReferenceDigest: "sha256:other"}
	a.root = index(l.fake, image, stray, attestation)
	l.tags["latest"] = a.root
	return a
}

func TestAttestationChain(t *testing.T) {
	l := newListing(t)
	a := l.attested(t)
	h := newHost(t, registry.Config{})
	chain := func(opt source.ResolveOptions) *source.AttestationChain {
		t.Helper()
		opt.AttestationChain, opt.NoConfig = true, true
		m, err := h.source.Resolve(t.Context(), &env{}, source.Identifier{Ref: l.addr + "/a:latest"}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if m.Image.Digest != a.root.Digest || m.Image.Config != nil || m.Image.AttestationChain == nil {
			t.Fatalf("%+v", m.Image)
		}
		return m.Image.AttestationChain
	}
	check := func(c *source.AttestationChain, blobs ...ocispecs.Descriptor) {
		t.Helper()
		if c.Root != a.root.Digest || c.ImageManifest != a.image.Digest || c.AttestationManifest != a.attestation.Digest ||
			!slices.Equal(c.SignatureManifests, []digest.Digest{a.bundle.Digest}) || len(c.Blobs) != len(blobs) {
			t.Errorf("%+v", c)
		}
		for _, d := range blobs {
			if b, ok := c.Blobs[d.Digest]; !ok || digest.FromBytes(b.Data) != d.Digest || b.Descriptor.MediaType != d.MediaType {
				t.Errorf("blob %s is %+v", d.Digest, b.Descriptor)
			}
		}
	}
	check(chain(source.ResolveOptions{}), a.root, a.attestation, a.bundle, a.signature)
	check(chain(source.ResolveOptions{Attestations: []string{"https://slsa.dev/provenance/v1", "https://none.example"}}),
		a.root, a.attestation, a.bundle, a.signature, a.provenance)

	// Without a list of referrers nothing is signed.
	clear(l.referrers)
	if c := chain(source.ResolveOptions{}); c.SignatureManifests != nil || len(c.Blobs) != 2 {
		t.Errorf("%+v", c)
	}
}

// An image without an index has no attestations; the chain says so.
func TestAttestationChainOfManifest(t *testing.T) {
	l := newListing(t)
	l.tags["latest"] = goodParts(t, l.fake).push(l.fake)
	h := newHost(t, registry.Config{})
	m, err := h.source.Resolve(t.Context(), &env{}, source.Identifier{Ref: l.addr + "/a:latest"}, source.ResolveOptions{AttestationChain: true})
	if err != nil {
		t.Fatal(err)
	}
	c := m.Image.AttestationChain
	if c.Root != m.Image.Digest || c.ImageManifest != c.Root || c.AttestationManifest != "" || len(c.Blobs) != 1 || m.Image.Config == nil {
		t.Errorf("%+v", c)
	}
}

// Chains come from strangers.
func TestHostileChains(t *testing.T) {
	for name, spoil := range map[string]func(l *listing, a attested) string{
		"statement too large": func(l *listing, a attested) string {
			big := a.provenance
			big.Size = maxChain
			return l.replace(a, l.artifact("", big))
		},
		"statement of another size": func(l *listing, a attested) string {
			odd := a.provenance
			odd.Size++
			return l.replace(a, l.artifact("", odd))
		},
		"attestation is an index": func(l *listing, a attested) string { return l.replace(a, index(l.fake, a.image)) },
		"attestation is missing": func(l *listing, a attested) string {
			delete(l.blobs, a.attestation.Digest.String())
			return "latest"
		},
		"signature is missing": func(l *listing, a attested) string {
			delete(l.blobs, a.signature.Digest.String())
			return "latest"
		},
		"signature has another content": func(l *listing, a attested) string {
			l.blobs[a.signature.Digest.String()] = []byte(`{"signed":true }`)[:len(`{"signed":true}`)]
			return "latest"
		},
		"crowd of signatures": func(l *listing, a attested) string {
			l.referrers[a.attestation.Digest] = make([]ocispecs.Descriptor, 2000)
			return "latest"
		},
		"signature that is no manifest": func(l *listing, a attested) string {
			d := l.add(ocispecs.MediaTypeImageLayer, []byte("x"))
			d.ArtifactType = typeSigstoreBundle
			l.referrers[a.attestation.Digest] = []ocispecs.Descriptor{d}
			return "latest"
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListing(t)
			tag := spoil(l, l.attested(t))
			h := newHost(t, registry.Config{})
			_, err := h.source.Resolve(t.Context(), &env{}, source.Identifier{Ref: l.addr + "/a:" + tag},
				source.ResolveOptions{AttestationChain: true, Attestations: []string{"https://slsa.dev/provenance/v1"}})
			if err == nil {
				t.Fatal("nothing is wrong")
			}
			if errdefs.IsInternal(err) || !strings.Contains(err.Error(), "attestations") {
				t.Error(err)
			}
		})
	}
}

// replace makes an image with another attestation manifest, under a tag.
func (l *listing) replace(a attested, attestation ocispecs.Descriptor) string {
	image := a.image
	image.Platform = &native
	attestation.Annotations = map[string]string{
		annotationReferenceType: referenceAttestation, annotationReferenceDigest: image.Digest.String(),
	}
	attestation.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	l.tags["odd"] = index(l.fake, image, attestation)
	return "odd"
}

func TestNormalize(t *testing.T) {
	s := &Source{}
	for in, want := range map[string]string{
		"alpine":                   "docker.io/library/alpine:latest",
		"docker.io/me/x:1":         "docker.io/me/x:1",
		"index.docker.io/me/x":     "docker.io/me/x:latest",
		"r.example:5000/x@" + zero: "r.example:5000/x@" + zero,
		"x:1@" + zero:              "docker.io/library/x:1@" + zero,
		"UPPER":                    "",
		"":                         "",
	} {
		got, err := s.Normalize(source.Identifier{Ref: in})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
}

const zero = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
