package gateway_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/gateway"
	pbllb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// checksum asks for one.
func checksum(algorithm pb.ChecksumRequest_ChecksumAlgo, suffix int) *pb.ResolveSourceMetaRequest {
	return &pb.ResolveSourceMetaRequest{HTTP: &pb.ResolveSourceHTTPRequest{
		ChecksumRequest: &pb.ChecksumRequest{Algo: algorithm, Suffix: make([]byte, suffix)},
	}}
}

// What is asked of a source is bounded; clients match the texts.
func TestResolveOptions(t *testing.T) {
	for name, c := range map[string]struct {
		req  *pb.ResolveSourceMetaRequest
		want string
	}{
		"suffix":    {checksum(0, 4097), "suffix exceeds max size 4096"},
		"algorithm": {checksum(99, 3), "unsupported checksum algorithm 99"},
		"types":     {&pb.ResolveSourceMetaRequest{Image: &pb.ResolveSourceImageRequest{ResolveAttestations: make([]string, 65)}}, "at most 64"},
		"type": {
			&pb.ResolveSourceMetaRequest{Image: &pb.ResolveSourceImageRequest{ResolveAttestations: []string{strings.Repeat("x", 4097)}}}, "at most 4096",
		},
	} {
		if _, err := gateway.ResolveOptions(c.req); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	opt, err := gateway.ResolveOptions(checksum(pb.ChecksumRequest_CHECKSUM_ALGO_SHA512, 4096))
	if err != nil || opt.Checksum.Algorithm != digest.SHA512 || len(opt.Checksum.Suffix) != 4096 {
		t.Errorf("%+v, %v", opt, err)
	}
	opt, err = gateway.ResolveOptions(&pb.ResolveSourceMetaRequest{
		Platform: &pbllb.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
		Image:    &pb.ResolveSourceImageRequest{NoConfig: true, ResolveAttestations: []string{"x"}},
		Git:      &pb.ResolveSourceGitRequest{ReturnObject: true},
	})
	if err != nil || !opt.NoConfig || !opt.AttestationChain || !opt.GitObject || opt.Platform.Variant != "" {
		t.Errorf("%+v, %v", opt, err)
	}
}

func TestSourceMeta(t *testing.T) {
	d := digest.FromString("x")
	out := gateway.SourceMeta(&frontend.SourceMeta{
		Image: &frontend.ImageMeta{Digest: d, AttestationChain: &frontend.AttestationChain{
			Root: d, SignatureManifests: []digest.Digest{d},
			Blobs: map[digest.Digest]frontend.Blob{d: {Descriptor: ocispecs.Descriptor{MediaType: "a/b", Digest: d, Size: 1}, Data: []byte("x")}},
		}},
		Git:  &frontend.GitMeta{Checksum: "1", CommitObject: []byte("c"), TagObject: []byte("t")},
		HTTP: &frontend.HTTPMeta{Digest: d, Checksum: &frontend.ChecksumResponse{Digest: d, Suffix: []byte("s")}},
	})
	c := out.GetImage().GetAttestationChain()
	if b := c.GetBlobs()[d.String()]; c.GetRoot() != d.String() || c.GetAttestationManifest() != "" || len(c.GetSignatureManifests()) != 1 ||
		string(b.GetData()) != "x" || b.GetDescriptor_().GetSize() != 1 {
		t.Errorf("%v", c)
	}
	if string(out.GetGit().GetCommitObject())+string(out.GetGit().GetTagObject()) != "ct" || out.GetHTTP().GetLastModified() != nil ||
		out.GetHTTP().GetChecksumResponse().GetDigest() != d.String() {
		t.Errorf("%v", out)
	}
	if out = gateway.SourceMeta(&frontend.SourceMeta{Image: &frontend.ImageMeta{}}); out.GetImage().GetAttestationChain() != nil || out.GetGit() != nil {
		t.Errorf("%v", out)
	}
}
