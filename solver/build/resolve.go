package build

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/policy"
	"github.com/kilnbuild/kiln/solver/source"
)

// ResolveSource describes a source that policies allow, or what they make of
// it.
func (b *bridge) ResolveSource(ctx context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	j := b.job
	more, err := policy.Compile(opt.Policies...)
	if err != nil {
		return nil, err
	}
	set := more.Before(j.policies)
	if j.decides(set) {
		var platform *pb.Platform
		if opt.Platform != nil {
			platform = llb.PlatformToPB(*opt.Platform)
		}
		if op, err = j.allow(ctx, set, more.Empty(), op, platform); err != nil {
			// The words that clients know, whatever the source is.
			return nil, fmt.Errorf("could not resolve image due to policy: %w", err)
		}
	}
	meta, err := j.describe(ctx, op, opt)
	if err != nil {
		return nil, err
	}
	// What is remembered is everybody's; the op is the caller's to change.
	if meta.Image != nil {
		b.call.resolved(ResolvedImage{Source: op, Platform: opt.Platform, Digest: meta.Image.Digest})
	}
	out := *meta
	out.Op = proto.Clone(op).(*pb.SourceOp)
	return &out, nil
}

// describe tells what is known of a source; the same question is asked once in
// a build. Policies have had their say.
func (j *job) describe(ctx context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	id, err := j.identifier(op, opt)
	if err != nil {
		return nil, err
	}
	want := source.ResolveOptions{
		NoConfig: opt.NoConfig, CommitTime: opt.CommitTime, AttestationChain: opt.AttestationChain, Attestations: opt.Attestations,
		GitObject: opt.GitObject, Checksum: (*source.ChecksumRequest)(opt.Checksum),
	}
	text, err := json.Marshal([]any{id, want})
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", id, err)
	}
	q := question{key: digest.FromBytes(text), name: opt.LogName, want: want}
	return j.described.do(ctx, q.key, func(ctx context.Context) (*frontend.SourceMeta, error) {
		return j.ask(ctx, id, op, q)
	})
}

// identifier is what a source op means under the options.
func (j *job) identifier(op *pb.SourceOp, opt frontend.ResolveOptions) (source.Identifier, error) {
	p := opt.Platform
	if p == nil {
		native := j.builder.platform()
		p = &native
	}
	attrs := maps.Clone(op.GetAttrs())
	if attrs == nil {
		attrs = map[string]string{}
	}
	if opt.ResolveMode != "" {
		attrs["image.resolvemode"] = opt.ResolveMode
	}
	return source.ParseIdentifier(op.GetIdentifier(), attrs, &ocispecs.Platform{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
	})
}

// ask resolves a source as a vertex of its own, with a name or a default one.
func (j *job) ask(ctx context.Context, id source.Identifier, op *pb.SourceOp, q question) (*frontend.SourceMeta, error) {
	src, err := j.builder.cfg.Sources.Get(id.Scheme)
	if err != nil {
		return nil, err
	}
	out := &frontend.SourceMeta{Op: proto.Clone(op).(*pb.SourceOp)}
	resolver, ok := src.(source.Resolver)
	if !ok {
		return out, nil
	}
	name := q.name
	if name == "" {
		name = "load metadata for " + id.String()
	}
	err = j.inline(q.key, name, func(env solver.Env) error {
		meta, err := resolver.Resolve(ctx, env, id, q.want)
		if err != nil {
			return err
		}
		fillMeta(out, meta)
		return nil
	})
	if err != nil {
		// The words that clients' own resolvers put before it.
		return nil, fmt.Errorf("failed to resolve source metadata for %s: %w", id.Ref, err)
	}
	return out, nil
}

// question is what is asked about one source.
type question struct {
	key  digest.Digest
	name string
	want source.ResolveOptions
}

func fillMeta(out *frontend.SourceMeta, in *source.Meta) {
	if m := in.Image; m != nil {
		out.Image = &frontend.ImageMeta{Digest: m.Digest, Config: m.Config, AttestationChain: toChain(m.AttestationChain)}
	}
	if m := in.Git; m != nil {
		out.Git = &frontend.GitMeta{
			Checksum: m.Checksum, Ref: m.Ref, CommitChecksum: m.CommitChecksum, CommitTime: m.CommitTime,
			CommitObject: m.CommitObject, TagObject: m.TagObject,
		}
	}
	if m := in.HTTP; m != nil {
		out.HTTP = &frontend.HTTPMeta{
			Digest: m.Digest, Filename: m.Filename, LastModified: m.LastModified, Checksum: (*frontend.ChecksumResponse)(m.Checksum),
		}
	}
}

func toChain(in *source.AttestationChain) *frontend.AttestationChain {
	if in == nil {
		return nil
	}
	out := &frontend.AttestationChain{
		Root: in.Root, ImageManifest: in.ImageManifest, AttestationManifest: in.AttestationManifest,
		SignatureManifests: in.SignatureManifests, Blobs: make(map[digest.Digest]frontend.Blob, len(in.Blobs)),
	}
	for d, b := range in.Blobs {
		out.Blobs[d] = frontend.Blob(b)
	}
	return out
}
