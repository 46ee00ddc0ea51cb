package frontend

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// Bridge is the builder as a frontend sees it.
type Bridge interface {
	// Solve registers a graph, or runs another frontend, and returns its
	// result. With SolveRequest.Evaluate unset nothing needs to have run when
	// it returns.
	Solve(ctx context.Context, req SolveRequest) (*Result, error)
	// ResolveSource returns what can be known of a source without fetching
	// it: the digest and configuration of an image, the commit of a git
	// reference, the checksum of a URL. The op may come back changed by
	// policy; the caller uses the returned one.
	ResolveSource(ctx context.Context, op *pb.SourceOp, opt ResolveOptions) (*SourceMeta, error)
	// Warn shows advice to the user, attached to a vertex of a solved graph.
	Warn(ctx context.Context, warning solver.WarningEvent) error
	// Info describes the build and the builder.
	Info() Info
}

// SolveRequest asks for a graph or for another frontend; not both.
type SolveRequest struct {
	// Definition is a graph to solve.
	Definition *pb.Definition
	// Frontend, if set, names the frontend to run with Opts and Inputs, for
	// example "gateway.v0" with option "source".
	Frontend string
	Opts     map[string]string
	Inputs   map[string]*pb.Definition
	// CacheImports are sources of remote cache for this graph.
	CacheImports []CacheImport
	// Policies apply to the sources of Definition beside those of the build.
	Policies []*spb.Policy
	// Evaluate makes Solve wait until everything has run.
	Evaluate bool
}

// CacheImport names a remote cache to look up results in.
type CacheImport struct {
	Type  string
	Attrs map[string]string
}

// ResolveOptions narrow ResolveSource.
type ResolveOptions struct {
	// LogName names the vertex that shows the resolution; empty: a default.
	LogName string
	// Platform that an image is wanted for; nil: the builder's.
	Platform *ocispecs.Platform
	// ResolveMode is "default", "pull" or "local"; empty: default.
	ResolveMode string
	// NoConfig skips an image's configuration.
	NoConfig bool
	// CommitTime asks for GitMeta.CommitTime, which may need the commit to be
	// fetched.
	CommitTime bool
	// AttestationChain asks for ImageMeta.AttestationChain, with the bytes of
	// the in-toto statements whose predicate types Attestations lists.
	AttestationChain bool
	Attestations     []string
	// GitObject asks for the raw objects in GitMeta.
	GitObject bool
	// Checksum asks for HTTPMeta.Checksum; nil: not asked for.
	Checksum *ChecksumRequest
	// Policies apply to this source beside those of the build.
	Policies []*spb.Policy
}

// ChecksumRequest asks for a digest of a URL's bytes with Suffix behind them.
type ChecksumRequest struct {
	// Algorithm is one of digest.SHA256, SHA384 and SHA512.
	Algorithm digest.Algorithm
	Suffix    []byte
}

// SourceMeta is what is known of a source before it is fetched.
type SourceMeta struct {
	// Op is the source as it will be fetched.
	Op    *pb.SourceOp
	Image *ImageMeta
	Git   *GitMeta
	HTTP  *HTTPMeta
}

// ImageMeta describes an image.
type ImageMeta struct {
	// Digest of the manifest or index that the reference names.
	Digest digest.Digest
	// Config is the image configuration, as stored.
	Config []byte
	// AttestationChain leads from Digest to what is attested of the image; nil
	// if it was not asked for.
	AttestationChain *AttestationChain
}

// AttestationChain holds the documents that lead from an image's root to its
// attestations and signatures, so that a reader can check each step by digest.
// A digest is empty if there is no such document.
type AttestationChain struct {
	// Root is the index or manifest that the reference names, ImageManifest
	// the platform's, AttestationManifest what is said of ImageManifest.
	Root, ImageManifest, AttestationManifest digest.Digest
	// SignatureManifests sign AttestationManifest.
	SignatureManifests []digest.Digest
	// Blobs are the documents that a reader needs, by digest.
	Blobs map[digest.Digest]Blob
}

// Blob is a document in memory; Data hashes to Descriptor.Digest.
type Blob struct {
	Descriptor ocispecs.Descriptor
	Data       []byte
}

// GitMeta describes a git reference.
type GitMeta struct {
	// Checksum is the object id that Ref names; CommitChecksum the commit's,
	// if Ref is an annotated tag.
	Checksum, Ref, CommitChecksum string
	// CommitTime is when the commit was made, in seconds since the epoch; nil
	// if unknown or not asked for.
	CommitTime *int64
	// CommitObject and TagObject are raw objects without git's header line of
	// type and length; nil if not asked for, or if Ref is no annotated tag.
	CommitObject, TagObject []byte
}

// HTTPMeta describes a URL.
type HTTPMeta struct {
	Digest   digest.Digest
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
	Suffix []byte
}

// Info describes the build and the builder.
type Info struct {
	// SessionID is the session of the client that asks.
	SessionID string
	// Product names the client or daemon to users in "please update …" texts.
	Product string
	// Workers has the builder's platforms; the first is the native one.
	Workers []WorkerInfo
	// LLBCaps are the enabled LLB capabilities.
	LLBCaps map[string]bool
}

// WorkerInfo describes what a builder runs on.
type WorkerInfo struct {
	ID        string
	Labels    map[string]string
	Platforms []ocispecs.Platform
}

// Ref is a graph handed to the bridge. A nil Ref in a Result is the empty
// file system.
type Ref interface {
	// Definition returns the graph, so that it can be built upon.
	Definition(ctx context.Context) (*pb.Definition, error)
	// Evaluate runs what the graph needs.
	Evaluate(ctx context.Context) error
	// ReadFile returns length bytes of a file from offset; length 0 reads to
	// the end. A missing file is fs.ErrNotExist (errdefs NotFound).
	ReadFile(ctx context.Context, path string, offset, length int64) ([]byte, error)
	// ReadDir lists a directory; pattern filters names if not empty.
	ReadDir(ctx context.Context, path, pattern string) ([]*fsutil.Stat, error)
	// StatFile describes one file; symbolic links are not followed at the end.
	StatFile(ctx context.Context, path string) (*fsutil.Stat, error)
}
