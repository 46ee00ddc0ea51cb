package policy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/policysession"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

func decision(d *policysession.DecisionResponse) *policysession.CheckPolicyResponse {
	return &policysession.CheckPolicyResponse{Result: &policysession.CheckPolicyResponse_Decision{Decision: d}}
}

func more(req *gateway.ResolveSourceMetaRequest) *policysession.CheckPolicyResponse {
	return &policysession.CheckPolicyResponse{Result: &policysession.CheckPolicyResponse_Request{Request: req}}
}

// script is a verifier that answers in order and repeats its last answer.
type script struct {
	answers []func(*policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse
	seen    []*policysession.CheckPolicyRequest
}

func (s *script) check(_ context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
	s.seen = append(s.seen, proto.Clone(req).(*policysession.CheckPolicyRequest))
	answer := s.answers[min(len(s.seen), len(s.answers))-1]
	return answer(req), nil
}

func always(r *policysession.CheckPolicyResponse) func(*policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse {
	return func(*policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse { return r }
}

// askMore asks for what is known of the source it was shown, changed by edit.
func askMore(edit func(*gateway.ResolveSourceMetaRequest)) func(*policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse {
	return func(req *policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse {
		out := &gateway.ResolveSourceMetaRequest{Source: proto.Clone(req.Source.Source).(*pb.SourceOp), Platform: req.Platform}
		if edit != nil {
			edit(out)
		}
		return more(out)
	}
}

var allowed = always(decision(&policysession.DecisionResponse{Action: spb.PolicyAction_ALLOW}))

func to(id string) func(*policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse {
	return always(decision(&policysession.DecisionResponse{Action: spb.PolicyAction_CONVERT, Update: &pb.SourceOp{Identifier: id}}))
}

func TestEvaluate(t *testing.T) {
	type answers = []func(*policysession.CheckPolicyRequest) *policysession.CheckPolicyResponse
	static, err := Compile(rules(convert(wild, "n:x://a", "x://b"), deny("n:x://secret")))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		id      string
		answers answers
		want    string
		calls   int
		err     string
	}{
		"nobody to ask":         {id: "x://c", want: "n:x://c"},
		"static rules first":    {id: "x://a", answers: answers{allowed}, want: "x://b", calls: 1},
		"static rules deny":     {id: "x://secret", answers: answers{allowed}, err: "denied by policy"},
		"allowed":               {id: "x://c", answers: answers{allowed}, want: "n:x://c", calls: 1},
		"converted":             {id: "x://c", answers: answers{to("x://d"), allowed}, want: "n:x://d", calls: 2},
		"converted, then rules": {id: "x://c", answers: answers{to("x://a"), allowed}, want: "x://b", calls: 2},
		"converted to denied":   {id: "x://c", answers: answers{to("x://secret"), allowed}, calls: 1, err: "denied by policy"},
		"endless":               {id: "x://c", answers: answers{to("x://c")}, calls: 10, err: "too many policy requests"},
		"told more":             {id: "x://c", answers: answers{askMore(nil), allowed}, want: "n:x://c", calls: 2},
		"asks for ever":         {id: "x://c", answers: answers{askMore(nil)}, calls: 10, err: "too many policy requests"},
		"asks of another": {
			id: "x://c", calls: 1, err: `policy requested different source identifier: "x://other" != "n:x://c"`,
			answers: answers{askMore(func(r *gateway.ResolveSourceMetaRequest) { r.Source.Identifier = "x://other" })},
		},
		"asks with other attributes": {
			id: "x://c", calls: 1, err: "policy requested different source attrs",
			answers: answers{askMore(func(r *gateway.ResolveSourceMetaRequest) { r.Source.Attrs = map[string]string{"k": "v"} })},
		},
		"asks of nothing": {
			id: "x://c", calls: 1, err: "different source identifier",
			answers: answers{askMore(func(r *gateway.ResolveSourceMetaRequest) { r.Source = nil })},
		},
		"nothing is known": {
			id: "x://c", calls: 1, err: "error resolving source metadata from policy request: gone",
			answers: answers{askMore(func(r *gateway.ResolveSourceMetaRequest) { r.LogName = "fail" })},
		},
		"says nothing":        {id: "x://c", answers: answers{always(&policysession.CheckPolicyResponse{})}, calls: 1, err: "no decision in policy response"},
		"converts to nothing": {id: "x://c", answers: answers{always(decision(&policysession.DecisionResponse{Action: spb.PolicyAction_CONVERT}))}, calls: 1, err: "convert action requires updated source"},
		"converts too far":    {id: "x://c", answers: answers{to(strings.Repeat("x", maxIdentifier+1))}, calls: 1, err: "at most"},
		"denies":              {id: "x://c", answers: answers{always(decision(&policysession.DecisionResponse{Action: spb.PolicyAction_DENY}))}, calls: 1, err: `source "n:x://c" not allowed by policy: action DENY`},
		"unknown action":      {id: "x://c", answers: answers{always(decision(&policysession.DecisionResponse{Action: 77}))}, calls: 1, err: "not allowed by policy: action 77"},
	} {
		t.Run(name, func(t *testing.T) {
			v := &script{answers: tc.answers}
			e := &Evaluator{Static: static, Normalize: func(op *pb.SourceOp) {
				if !strings.HasPrefix(op.Identifier, "n:") && op.Identifier != "x://b" {
					op.Identifier = "n:" + op.Identifier
				}
			}, Resolve: func(_ context.Context, req *gateway.ResolveSourceMetaRequest) (*gateway.ResolveSourceMetaResponse, error) {
				if req.LogName == "fail" {
					return nil, errors.New("gone")
				}
				return &gateway.ResolveSourceMetaResponse{Source: req.Source, Image: &gateway.ResolveSourceImageResponse{Digest: "sha256:1"}}, nil
			}}
			if tc.answers != nil {
				e.Check = v.check
			}
			in := &pb.SourceOp{Identifier: tc.id}
			out, err := e.Evaluate(t.Context(), in, &pb.Platform{OS: "linux"})
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if out.GetIdentifier() != tc.want || in.Identifier != tc.id || len(v.seen) != tc.calls {
				t.Errorf("%s (given %s) after %d calls, want %s after %d", out, in, len(v.seen), tc.want, tc.calls)
			}
			for i, r := range v.seen {
				if r.Platform.GetOS() != "linux" || (i == 0) != (r.Source.Image == nil) && name == "told more" {
					t.Errorf("call %d: %v", i, r)
				}
			}
		})
	}
}

// The reasons of a verifier travel beside the text.
func TestDenyMessages(t *testing.T) {
	v := &script{}
	v.answers = append(v.answers, always(decision(&policysession.DecisionResponse{
		Action: spb.PolicyAction_DENY, DenyMessages: []*policysession.DenyMessage{{Message: "too old"}, {Message: "use b"}},
	})))
	_, err := (&Evaluator{Check: v.check}).Evaluate(t.Context(), &pb.SourceOp{Identifier: "x://a"}, nil)
	var denied *rpcerr.DenyError
	if !errors.As(err, &denied) || !slices.Equal(denied.Messages, []string{"too old", "use b"}) || !errdefs.IsPermissionDenied(err) {
		t.Errorf("%#v", err)
	}
}

// A verifier that fails allows nothing.
func TestVerifierFails(t *testing.T) {
	gone := errors.New("gone")
	e := &Evaluator{Check: func(context.Context, *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
		return nil, gone
	}}
	if out, err := e.Evaluate(t.Context(), &pb.SourceOp{Identifier: "x://a"}, nil); !errors.Is(err, gone) || out != nil {
		t.Errorf("%v, %v", out, err)
	}
}
