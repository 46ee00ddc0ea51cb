package policy

import (
	"context"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/policysession"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// Evaluator has one source after the other looked at by a Set, then by a
// verifier.
type Evaluator struct {
	Static *Set
	// Normalize, optional, brings an identifier into the form that rules are
	// written for. It changes the source in place and leaves alone what it
	// does not understand.
	Normalize func(source *pb.SourceOp)
	// Check, optional, asks the verifier.
	Check func(ctx context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error)
	// Resolve tells what is known of a source, without a policy being asked
	// again; needed with Check.
	Resolve func(ctx context.Context, req *gateway.ResolveSourceMetaRequest) (*gateway.ResolveSourceMetaResponse, error)
}

// Evaluate returns what is to be fetched instead of a source, which is not
// changed. platform, which may be nil, is what the verifier is told. Refusals
// are errdefs PermissionDenied, with the verifier's reasons as a
// *rpcerr.DenyError; other errors come from the verifier, from what it asked
// for, or from ctx.
func (e *Evaluator) Evaluate(ctx context.Context, source *pb.SourceOp, platform *pb.Platform) (*pb.SourceOp, error) {
	c := &check{Evaluator: e, source: proto.Clone(source).(*pb.SourceOp), platform: platform, left: maxQuestions}
	for {
		if e.Normalize != nil {
			e.Normalize(c.source)
		}
		if _, err := e.Static.Apply(ctx, c.source); err != nil {
			return nil, err
		}
		if e.Check == nil {
			return c.source, nil
		}
		update, err := c.ask(ctx)
		if err != nil {
			return nil, err
		}
		if update == nil {
			return c.source, nil
		}
		// What the verifier made of it is looked at like any other source.
		c.source = update
	}
}

// check is one source being evaluated.
type check struct {
	*Evaluator
	source   *pb.SourceOp
	platform *pb.Platform
	// left is how many more questions may be asked.
	left int
}

// ask asks the verifier, with more of what is known if it wants to know, until
// it decides. A returned source replaces the one asked about; nil allows it.
func (c *check) ask(ctx context.Context) (*pb.SourceOp, error) {
	known := &gateway.ResolveSourceMetaResponse{Source: c.source}
	for {
		if c.left--; c.left < 0 {
			return nil, invalidf("too many policy requests")
		}
		resp, err := c.Check(ctx, &policysession.CheckPolicyRequest{Platform: c.platform, Source: known})
		if err != nil {
			return nil, err
		}
		wanted := resp.GetRequest()
		if wanted == nil {
			return c.decide(resp.GetDecision())
		}
		if err := c.sameSource(wanted.GetSource()); err != nil {
			return nil, err
		}
		if known, err = c.Resolve(ctx, wanted); err != nil {
			return nil, fmt.Errorf("error resolving source metadata from policy request: %w", err)
		}
	}
}

// sameSource refuses questions about anything else: a policy is no way to look
// into what the build did not name.
func (c *check) sameSource(asked *pb.SourceOp) error {
	if asked.GetIdentifier() != c.source.GetIdentifier() {
		return invalidf("policy requested different source identifier: %q != %q", asked.GetIdentifier(), c.source.GetIdentifier())
	}
	if !maps.Equal(asked.GetAttrs(), c.source.GetAttrs()) {
		return invalidf("policy requested different source attrs for %q", asked.GetIdentifier())
	}
	return nil
}

// decide reads a decision; whatever does not allow denies.
func (c *check) decide(d *policysession.DecisionResponse) (*pb.SourceOp, error) {
	switch {
	case d == nil:
		return nil, invalidf("no decision in policy response")
	case d.GetAction() == spb.PolicyAction_ALLOW:
		return nil, nil
	case d.GetAction() == spb.PolicyAction_CONVERT:
		update := d.GetUpdate()
		if update == nil {
			return nil, invalidf("convert action requires updated source")
		}
		if len(update.GetIdentifier()) > maxIdentifier {
			return nil, invalidf("policy makes an identifier of %d bytes, at most %d are allowed", len(update.GetIdentifier()), maxIdentifier)
		}
		return proto.Clone(update).(*pb.SourceOp), nil
	}
	err := refusedf("source %q not allowed by policy: action %s", c.source.GetIdentifier(), d.GetAction())
	deny := &rpcerr.DenyError{Err: err}
	for _, m := range d.GetDenyMessages() {
		deny.Messages = append(deny.Messages, m.GetMessage())
	}
	if len(deny.Messages) == 0 {
		return nil, err
	}
	return nil, deny
}
