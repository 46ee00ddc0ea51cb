package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/source"
)

const (
	// maxAttestations bounds the predicate types in one request,
	// maxPredicateType the length of one, in bytes.
	maxAttestations  = 64
	maxPredicateType = 4 << 10
)

// ResolveSourceMeta tells what is known of a source before it is fetched.
func (s *Session) ResolveSourceMeta(ctx context.Context, req *gateway.ResolveSourceMetaRequest) (*gateway.ResolveSourceMetaResponse, error) {
	if req.GetSource() == nil {
		return nil, fmt.Errorf("resolve source: field source is missing: %w", errdefs.ErrInvalidArgument)
	}
	opt, err := ResolveOptions(req)
	if err != nil {
		return nil, err
	}
	meta, err := s.bridge.ResolveSource(ctx, req.GetSource(), opt)
	if err != nil {
		return nil, err
	}
	return SourceMeta(meta), nil
}

// checksumAlgorithms by number on the wire.
var checksumAlgorithms = map[gateway.ChecksumRequest_ChecksumAlgo]digest.Algorithm{
	gateway.ChecksumRequest_CHECKSUM_ALGO_SHA256: digest.SHA256,
	gateway.ChecksumRequest_CHECKSUM_ALGO_SHA384: digest.SHA384,
	gateway.ChecksumRequest_CHECKSUM_ALGO_SHA512: digest.SHA512,
}

// ResolveOptions reads what a request wants to know of its source. Errors are
// errdefs InvalidArgument.
func ResolveOptions(req *gateway.ResolveSourceMetaRequest) (frontend.ResolveOptions, error) {
	opt := frontend.ResolveOptions{
		LogName: req.GetLogName(), Platform: platformOf(req.GetPlatform()), ResolveMode: req.GetResolveMode(),
		NoConfig: req.GetImage().GetNoConfig(), AttestationChain: req.GetImage().GetAttestationChain(),
		Attestations: req.GetImage().GetResolveAttestations(),
		GitObject:    req.GetGit().GetReturnObject(), Policies: req.GetSourcePolicies(),
	}
	if len(opt.Attestations) > maxAttestations {
		return opt, fmt.Errorf("%d predicate types of attestations, at most %d: %w", len(opt.Attestations), maxAttestations, errdefs.ErrInvalidArgument)
	}
	for _, t := range opt.Attestations {
		if len(t) > maxPredicateType {
			return opt, fmt.Errorf("predicate type has %d bytes, at most %d: %w", len(t), maxPredicateType, errdefs.ErrInvalidArgument)
		}
	}
	// Statements are of no use without the documents that lead to them.
	opt.AttestationChain = opt.AttestationChain || len(opt.Attestations) > 0
	if c := req.GetHTTP().GetChecksumRequest(); c != nil {
		if len(c.GetSuffix()) > source.MaxChecksumSuffix {
			return opt, fmt.Errorf("http checksum request suffix exceeds max size %d: %w", source.MaxChecksumSuffix, errdefs.ErrInvalidArgument)
		}
		algorithm, ok := checksumAlgorithms[c.GetAlgo()]
		if !ok {
			return opt, fmt.Errorf("unsupported checksum algorithm %d: %w", c.GetAlgo(), errdefs.ErrInvalidArgument)
		}
		opt.Checksum = &frontend.ChecksumRequest{Algorithm: algorithm, Suffix: c.GetSuffix()}
	}
	return opt, nil
}

// SourceMeta is the wire form of what is known of a source.
func SourceMeta(meta *frontend.SourceMeta) *gateway.ResolveSourceMetaResponse {
	out := &gateway.ResolveSourceMetaResponse{Source: meta.Op}
	if m := meta.Image; m != nil {
		out.Image = &gateway.ResolveSourceImageResponse{
			Digest: m.Digest.String(), Config: m.Config, AttestationChain: chainToWire(m.AttestationChain),
		}
	}
	if m := meta.Git; m != nil {
		out.Git = &gateway.ResolveSourceGitResponse{
			Checksum: m.Checksum, Ref: m.Ref, CommitChecksum: m.CommitChecksum, CommitObject: m.CommitObject, TagObject: m.TagObject,
		}
	}
	if m := meta.HTTP; m != nil {
		out.HTTP = &gateway.ResolveSourceHTTPResponse{Checksum: m.Digest.String(), Filename: m.Filename}
		if m.LastModified != nil {
			out.HTTP.LastModified = timestamppb.New(time.Unix(*m.LastModified, 0))
		}
		if c := m.Checksum; c != nil {
			out.HTTP.ChecksumResponse = &gateway.ChecksumResponse{Digest: c.Digest.String(), Suffix: c.Suffix}
		}
	}
	return out
}

func chainToWire(c *frontend.AttestationChain) *gateway.AttestationChain {
	if c == nil {
		return nil
	}
	out := &gateway.AttestationChain{
		Root: c.Root.String(), ImageManifest: c.ImageManifest.String(), AttestationManifest: c.AttestationManifest.String(),
		Blobs: map[string]*gateway.Blob{},
	}
	for _, d := range c.SignatureManifests {
		out.SignatureManifests = append(out.SignatureManifests, d.String())
	}
	for d, b := range c.Blobs {
		out.Blobs[d.String()] = &gateway.Blob{Descriptor_: descriptorToWire(b.Descriptor), Data: b.Data}
	}
	return out
}

func descriptorToWire(d ocispecs.Descriptor) *gateway.Descriptor {
	return &gateway.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size, Annotations: d.Annotations}
}
