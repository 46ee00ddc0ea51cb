package guest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// bridge is the host's, from afar.
type bridge struct {
	client gateway.LLBBridgeClient
	info   frontend.Info
}

var _ frontend.Bridge = (*bridge)(nil)

// ping asks what the host can do.
func (b *bridge) ping(ctx context.Context, env Environment) error {
	pong, err := b.client.Ping(ctx, &gateway.PingRequest{})
	if err != nil {
		return fmt.Errorf("ask the builder what it can do: %w", err)
	}
	b.info = frontend.Info{SessionID: env.SessionID, Product: env.Product, LLBCaps: map[string]bool{}}
	for _, c := range pong.GetLLBCaps() {
		b.info.LLBCaps[c.GetID()] = c.GetEnabled()
	}
	for _, w := range pong.GetWorkers() {
		info := frontend.WorkerInfo{ID: w.GetID(), Labels: w.GetLabels()}
		for _, p := range w.GetPlatforms() {
			info.Platforms = append(info.Platforms, ocispecs.Platform{
				OS: p.GetOS(), Architecture: p.GetArchitecture(), Variant: p.GetVariant(),
				OSVersion: p.GetOSVersion(), OSFeatures: p.GetOSFeatures(),
			})
		}
		b.info.Workers = append(b.info.Workers, info)
	}
	return nil
}

// Info describes the build and the builder.
func (b *bridge) Info() frontend.Info { return b.info }

// Solve passes a graph, or a request for another frontend, on.
func (b *bridge) Solve(ctx context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	out := &gateway.SolveRequest{
		Definition: req.Definition, Frontend: req.Frontend, FrontendOpt: req.Opts, FrontendInputs: req.Inputs,
		AllowResultReturn: true, AllowResultArrayRef: true, Evaluate: req.Evaluate,
	}
	for _, c := range req.CacheImports {
		out.CacheImports = append(out.CacheImports, &gateway.CacheOptionsEntry{Type: c.Type, Attrs: c.Attrs})
	}
	resp, err := b.client.Solve(ctx, out)
	if err != nil {
		return nil, err
	}
	return b.fromWire(resp.GetResult())
}

// Warn passes advice on.
func (b *bridge) Warn(ctx context.Context, w solver.WarningEvent) error {
	_, err := b.client.Warn(ctx, &gateway.WarnRequest{
		Digest: w.Vertex.String(), Level: int64(w.Level), Short: w.Short, Detail: w.Detail, Url: w.URL,
		Info: rpcerr.SourceInfo(w.Source), Ranges: llb.RangesToPB(w.Ranges),
	})
	return err
}

// ResolveSource asks the host about a source.
func (b *bridge) ResolveSource(ctx context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	req := &gateway.ResolveSourceMetaRequest{
		Source: op, LogName: opt.LogName, ResolveMode: opt.ResolveMode, SourcePolicies: opt.Policies,
		Image: &gateway.ResolveSourceImageRequest{NoConfig: opt.NoConfig},
		Git:   &gateway.ResolveSourceGitRequest{ReturnObject: opt.GitObject || opt.CommitTime},
	}
	if p := opt.Platform; p != nil {
		req.Platform = &pb.Platform{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
		}
	}
	resp, err := b.client.ResolveSourceMeta(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &frontend.SourceMeta{Op: resp.GetSource()}
	if out.Op == nil {
		out.Op = op
	}
	if m := resp.GetImage(); m != nil {
		out.Image = &frontend.ImageMeta{Digest: digest.Digest(m.GetDigest()), Config: m.GetConfig()}
	}
	if m := resp.GetGit(); m != nil {
		out.Git = &frontend.GitMeta{
			Checksum: m.GetChecksum(), Ref: m.GetRef(), CommitChecksum: m.GetCommitChecksum(),
			CommitTime: commitTime(m.GetCommitObject()), CommitObject: m.GetCommitObject(), TagObject: m.GetTagObject(),
		}
	}
	if m := resp.GetHTTP(); m != nil {
		out.HTTP = &frontend.HTTPMeta{Digest: digest.Digest(m.GetChecksum()), Filename: m.GetFilename()}
		if t := m.GetLastModified(); t != nil {
			at := t.GetSeconds()
			out.HTTP.LastModified = &at
		}
	}
	return out, nil
}

// commitTime reads when a raw commit was made, in seconds since the epoch; nil
// if it does not say.
func commitTime(object []byte) *int64 {
	header, _, _ := bytes.Cut(object, []byte("\n\n"))
	for line := range bytes.Lines(header) {
		rest, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("committer "))
		if !ok {
			continue
		}
		// The name before it may contain anything but the bracket.
		fields := bytes.Fields(rest[bytes.LastIndexByte(rest, '>')+1:])
		if len(fields) == 0 {
			return nil
		}
		at, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err != nil {
			return nil
		}
		return &at
	}
	return nil
}
