package build

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	pbgateway "github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/policysession"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
	"github.com/kilnbuild/kiln/solver/policy"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
)

// rewriter returns what decides about the sources of a graph: the build's
// policies, then more, which a frontend sent with the graph, then the client's
// verifier. Nil if there is nothing to decide.
func (j *job) rewriter(more []*spb.Policy) (func(context.Context, *pb.SourceOp, *pb.Platform) error, error) {
	set, err := j.policies.With(more...)
	if err != nil {
		return nil, err
	}
	if !j.decides(set) {
		return nil, nil
	}
	return func(ctx context.Context, op *pb.SourceOp, platform *pb.Platform) error {
		out, err := j.allow(ctx, set, len(more) == 0, op, platform)
		if err != nil {
			return fmt.Errorf("error evaluating the source policy: %w", err)
		}
		op.Identifier, op.Attrs = out.Identifier, maps.Clone(out.Attrs)
		return nil
	}, nil
}

// decides reports whether a source needs to be looked at at all.
func (j *job) decides(set *policy.Set) bool { return !set.Empty() || j.request.PolicySession != "" }

// allow returns what may be fetched instead of a source, or why nothing may.
// own says that set has the build's policies only: then the answer is good for
// the whole build, and the verifier is asked once.
func (j *job) allow(ctx context.Context, set *policy.Set, own bool, op *pb.SourceOp, platform *pb.Platform) (*pb.SourceOp, error) {
	id := source.Identifier{}
	if parsed, err := source.ParseIdentifier(op.GetIdentifier(), op.GetAttrs(), nil); err == nil {
		id = parsed
	}
	if !platformMatters(id.Scheme) {
		platform = nil
	}
	e := &policy.Evaluator{Static: set, Normalize: j.normalize, Resolve: j.tell}
	if j.request.PolicySession != "" {
		e.Check = j.verify
	}
	if !own {
		return e.Evaluate(ctx, op, platform)
	}
	question, err := json.Marshal([]any{op.GetIdentifier(), op.GetAttrs(), platform})
	if err != nil {
		return nil, fmt.Errorf("policy for %s: %w", op.GetIdentifier(), err)
	}
	return j.allowed.do(ctx, digest.FromBytes(question), func(ctx context.Context) (*pb.SourceOp, error) {
		return e.Evaluate(ctx, op, platform)
	})
}

// platformMatters says which sources differ by platform; verifiers are told
// none for others.
func platformMatters(scheme string) bool { return scheme == "docker-image" || scheme == "oci-layout" }

// normalize brings the identifier of a source into the form that it is fetched
// under. What its source cannot read is refused later, with a better text.
func (j *job) normalize(op *pb.SourceOp) {
	id, err := source.ParseIdentifier(op.GetIdentifier(), op.GetAttrs(), nil)
	if err != nil {
		return
	}
	src, err := j.builder.cfg.Sources.Get(id.Scheme)
	if err != nil {
		return
	}
	n, ok := src.(source.Normalizer)
	if !ok {
		return
	}
	if ref, err := n.Normalize(id); err == nil {
		op.Identifier = id.Scheme + "://" + ref
	}
}

// verify asks the client's verifier. A client that has gone fails the build: a
// source that nobody allowed is not fetched.
func (j *job) verify(ctx context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
	wait, cancel := context.WithTimeoutCause(ctx, session.WaitTimeout, context.DeadlineExceeded)
	s, err := j.builder.cfg.Sessions.Get(wait, j.request.PolicySession)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("source policy session: %w", err)
	}
	ctx, cancel = s.With(ctx)
	defer cancel()
	resp, err := policysession.NewPolicyVerifierClient(s.Conn()).CheckPolicy(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("source policy session: %w", rpcerr.FromGRPC(err))
	}
	return resp, nil
}

// tell answers a verifier that wants to know more.
func (j *job) tell(ctx context.Context, req *pbgateway.ResolveSourceMetaRequest) (*pbgateway.ResolveSourceMetaResponse, error) {
	opt, err := gateway.ResolveOptions(req)
	if err != nil {
		return nil, err
	}
	meta, err := j.describe(ctx, req.GetSource(), opt)
	if err != nil {
		return nil, err
	}
	return gateway.SourceMeta(meta), nil
}
