package source

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Identifier is what an LLB source op names.
type Identifier struct {
	// Scheme stands before "://", for example "docker-image".
	Scheme string
	// Ref stands after it.
	Ref string
	// Attrs are the op's attributes by wire name.
	Attrs map[string]string
	// Platform is set for sources that depend on one.
	Platform *ocispecs.Platform
}

// ParseIdentifier splits an LLB source identifier.
func ParseIdentifier(id string, attrs map[string]string, platform *ocispecs.Platform) (Identifier, error) {
	scheme, name, ok := strings.Cut(id, "://")
	if !ok || scheme == "" {
		return Identifier{}, fmt.Errorf("source identifier %q has no scheme: %w", id, errdefs.ErrInvalidArgument)
	}
	return Identifier{Scheme: scheme, Ref: name, Attrs: attrs, Platform: platform}, nil
}

// String returns the identifier as in LLB.
func (id Identifier) String() string { return id.Scheme + "://" + id.Ref }

// Source opens identifiers of its schemes.
type Source interface {
	// Schemes lists what the source answers to.
	Schemes() []string
	// Open checks the identifier's form and attributes. It does no I/O.
	// Errors are errdefs InvalidArgument and name the attribute.
	Open(ctx context.Context, id Identifier) (Instance, error)
}

// Normalizer is implemented by sources whose identifiers have more than one
// spelling, so that a rule about one spelling is a rule about all.
type Normalizer interface {
	// Normalize returns the reference as it stands behind "://" in the
	// spelling that rules are written for. It does no I/O. Errors are errdefs
	// InvalidArgument.
	Normalize(id Identifier) (string, error)
}

// Instance is one source of one build.
type Instance interface {
	// Key returns the identity of what Fetch would bring now.
	Key(ctx context.Context, env solver.Env) (Key, error)
	// Fetch brings the bytes; nil for an empty file system. The caller
	// releases the ref.
	Fetch(ctx context.Context, env solver.Env) (*ref.Ref, error)
}

// Key is the identity of a source's bytes.
type Key struct {
	// Definition is known without looking at the bytes, such as the digest of
	// an image's manifest.
	Definition string
	// Content, if set, is the more telling identity (an image's chain of
	// layers); other sources with the same Content hold the same bytes.
	Content string
	// Volatile says that Definition means nothing outside this process.
	Volatile bool
	// Pin is what provenance tells of the source: the digest of an image or
	// file, the commit of a repository. Empty if there is nothing to tell.
	Pin string
}

// Resolver is implemented by sources that can describe what they name without
// fetching it.
type Resolver interface {
	Resolve(ctx context.Context, env solver.Env, id Identifier, opt ResolveOptions) (*Meta, error)
}

// ResolveOptions narrow Resolver.Resolve.
type ResolveOptions struct {
	// NoConfig skips the configuration of an image.
	NoConfig bool
	// CommitTime asks for GitMeta.CommitTime, which may need the commit to be
	// fetched.
	CommitTime bool
	// AttestationChain asks for ImageMeta.AttestationChain.
	AttestationChain bool
	// Attestations are the predicate types of in-toto statements whose bytes
	// the chain is to carry; empty: none, the manifests say what there is.
	Attestations []string
	// GitObject asks for GitMeta.CommitObject and TagObject, which need the
	// commit to be fetched.
	GitObject bool
	// Checksum asks for HTTPMeta.Checksum, which needs the whole response to
	// be read; nil: not asked for.
	Checksum *ChecksumRequest
}

// ChecksumRequest asks for a digest of a URL's bytes with Suffix behind them,
// as signatures are made over.
type ChecksumRequest struct {
	// Algorithm is one of digest.SHA256, SHA384 and SHA512.
	Algorithm digest.Algorithm
	// Suffix is hashed after the body; at most MaxChecksumSuffix bytes.
	Suffix []byte
}

// MaxChecksumSuffix bounds ChecksumRequest.Suffix, in bytes.
const MaxChecksumSuffix = 4 << 10

// Meta is what can be known of a source without fetching it; one field is set.
type Meta struct {
	Image *ImageMeta
	Git   *GitMeta
	HTTP  *HTTPMeta
}

// ImageMeta describes an image.
type ImageMeta struct {
	// Digest of what the reference names: manifest or index.
	Digest digest.Digest
	// Config is the image configuration for the platform, as stored.
	Config []byte
	// Ref is the normalised reference.
	Ref string
	// AttestationChain leads from Digest to what is attested of the image; nil
	// if it was not asked for.
	AttestationChain *AttestationChain
}

// AttestationChain holds the documents that lead from an image's root to its
// attestations and signatures, so that a reader can check each step by digest.
type AttestationChain struct {
	// Root is what the reference names: an index, or a single manifest.
	Root digest.Digest
	// ImageManifest is the platform's manifest; empty if Root has none.
	ImageManifest digest.Digest
	// AttestationManifest is the manifest that belongs to ImageManifest; empty
	// if there is none.
	AttestationManifest digest.Digest
	// SignatureManifests sign AttestationManifest.
	SignatureManifests []digest.Digest
	// Blobs are the documents that a reader needs, by digest: Root,
	// AttestationManifest, the signatures and the statements asked for.
	Blobs map[digest.Digest]Blob
}

// Blob is a document in memory; Data hashes to Descriptor.Digest.
type Blob struct {
	Descriptor ocispecs.Descriptor
	Data       []byte
}

// GitMeta describes a git reference.
type GitMeta struct {
	// Ref in full, such as "refs/heads/main", or a commit id.
	Ref string
	// Checksum is the id of the object that Ref names.
	Checksum string
	// CommitChecksum is the commit's if Checksum is an annotated tag's.
	CommitChecksum string
	// CommitTime is the committer's, in seconds since the epoch; nil if it was
	// not asked for.
	CommitTime *int64
	// CommitObject is the raw commit, without git's header line of type and
	// length; nil if it was not asked for.
	CommitObject []byte
	// TagObject is the raw annotated tag if Ref names one, in the same form.
	TagObject []byte
}

// HTTPMeta describes a URL.
type HTTPMeta struct {
	Digest digest.Digest
	// Filename is what Fetch calls the file.
	Filename string
	// LastModified is in seconds since the epoch; nil if unknown.
	LastModified *int64
	// Checksum answers ResolveOptions.Checksum; nil if it was not asked for.
	Checksum *ChecksumResponse
}

// ChecksumResponse answers a ChecksumRequest.
type ChecksumResponse struct {
	// Digest of the body and Suffix, in the algorithm asked for.
	Digest digest.Digest
	// Suffix as asked for.
	Suffix []byte
}

// Registry finds the Source of a scheme. It is filled once, before use.
type Registry struct {
	byScheme map[string]Source
}

// NewRegistry returns a registry of sources; a later one replaces an earlier
// one with the same scheme.
func NewRegistry(sources ...Source) *Registry {
	r := &Registry{byScheme: map[string]Source{}}
	for _, s := range sources {
		for _, scheme := range s.Schemes() {
			r.byScheme[scheme] = s
		}
	}
	return r
}

// Get returns the source of a scheme, or errdefs NotFound.
func (r *Registry) Get(scheme string) (Source, error) {
	s, ok := r.byScheme[scheme]
	if !ok {
		return nil, fmt.Errorf("no source for scheme %q in this builder: %w", scheme, errdefs.ErrNotFound)
	}
	return s, nil
}
