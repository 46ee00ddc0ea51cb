package policy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// rules makes a policy of rules in short.
func rules(in ...*spb.Rule) *spb.Policy { return &spb.Policy{Version: 1, Rules: in} }

func allow(id string) *spb.Rule {
	return &spb.Rule{Action: spb.PolicyAction_ALLOW, Selector: &spb.Selector{Identifier: id}}
}

func deny(id string) *spb.Rule {
	return &spb.Rule{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: id}}
}

func convert(match spb.MatchType, id, to string, attrs ...string) *spb.Rule {
	r := &spb.Rule{
		Action: spb.PolicyAction_CONVERT, Selector: &spb.Selector{Identifier: id, MatchType: match}, Updates: &spb.Update{Identifier: to},
	}
	for i := 0; i < len(attrs); i += 2 {
		if r.Updates.Attrs == nil {
			r.Updates.Attrs = map[string]string{}
		}
		r.Updates.Attrs[attrs[i]] = attrs[i+1]
	}
	return r
}

// when adds a constraint to a rule.
func when(r *spb.Rule, key string, cond spb.AttrMatch, value string) *spb.Rule {
	r.Selector.Constraints = append(r.Selector.Constraints, &spb.AttrConstraint{Key: key, Value: value, Condition: cond})
	return r
}

const (
	wild  = spb.MatchType_WILDCARD
	exact = spb.MatchType_EXACT
	regex = spb.MatchType_REGEX
)

func TestApply(t *testing.T) {
	const a, b, c = "docker-image://docker.io/library/a:1", "docker-image://docker.io/library/b:1", "docker-image://docker.io/library/c:1"
	for name, tc := range map[string]struct {
		policies []*spb.Policy
		id       string
		attrs    map[string]string
		want     string // empty: as it was
		set      map[string]string
		err      error
	}{
		"nothing":            {id: a},
		"no rule matches":    {policies: []*spb.Policy{rules(deny(b))}, id: a},
		"literal":            {policies: []*spb.Policy{rules(deny(a))}, id: a, err: ErrDenied},
		"star is everything": {policies: []*spb.Policy{rules(deny("*"))}, id: a, err: ErrDenied},
		"star inside":        {policies: []*spb.Policy{rules(deny("docker-image://*/library/*:1"))}, id: a, err: ErrDenied},
		"other scheme":       {policies: []*spb.Policy{rules(deny("https://*"))}, id: a},
		"dots are dots":      {policies: []*spb.Policy{rules(deny("docker-image://dockerXio/*"))}, id: a},
		"last one wins":      {policies: []*spb.Policy{rules(allow(a), deny(a), allow(a))}, id: a},
		"last one denies":    {policies: []*spb.Policy{rules(allow(a), deny("*"))}, id: a, err: ErrDenied},
		"any policy denies":  {policies: []*spb.Policy{rules(deny(a)), rules(allow(a))}, id: a, err: ErrDenied},
		"second denies":      {policies: []*spb.Policy{rules(allow(a)), rules(deny(a))}, id: a, err: ErrDenied},
		"exact is literal": {
			policies: []*spb.Policy{rules(&spb.Rule{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: "*", MatchType: exact}})}, id: a,
		},
		"converted":            {policies: []*spb.Policy{rules(convert(wild, a, b))}, id: a, want: b},
		"converted on":         {policies: []*spb.Policy{rules(convert(wild, b, c), convert(wild, a, b))}, id: a, want: c},
		"converted elsewhere":  {policies: []*spb.Policy{rules(convert(wild, b, c)), rules(convert(wild, a, b))}, id: a, want: c},
		"converted to denied":  {policies: []*spb.Policy{rules(deny(b), convert(wild, a, b))}, id: a, want: b, err: ErrDenied},
		"denied but converted": {policies: []*spb.Policy{rules(deny(a), convert(wild, a, b))}, id: a, want: b},
		"groups of a wildcard": {
			policies: []*spb.Policy{rules(convert(wild, "docker-image://*/library/*:1", "docker-image://$1/my/${2}:2"))},
			id:       a, want: "docker-image://docker.io/my/a:2",
		},
		"groups of a regex": {
			policies: []*spb.Policy{rules(convert(regex, `^docker-image://docker\.io/library/(?P<name>[a-z]+):.*$`, "docker-image://r.example/${name}"))},
			id:       a, want: "docker-image://r.example/a",
		},
		"part of it": {policies: []*spb.Policy{rules(convert(regex, `docker\.io/`, "r.example/"))}, id: a, want: "docker-image://r.example/library/a:1"},
		"attributes": {
			policies: []*spb.Policy{rules(convert(wild, "https://*", "", "http.checksum", "sha256:1"))},
			id:       "https://example.com/f", set: map[string]string{"http.checksum": "sha256:1"},
		},
		"no change is no round": {
			policies: []*spb.Policy{rules(convert(wild, a, a, "k", "v"))}, id: a,
			attrs: map[string]string{"k": "v"}, set: map[string]string{"k": "v"},
		},
		"endless":  {policies: []*spb.Policy{rules(convert(wild, a, b), convert(wild, b, a))}, id: a, want: b, err: ErrTooManyRounds},
		"growing":  {policies: []*spb.Policy{rules(convert(wild, "x://*", "x://$1$1"))}, id: "x://" + strings.Repeat("a", 1<<12), err: errdefs.ErrInvalidArgument},
		"equal":    {policies: []*spb.Policy{rules(when(deny("*"), "k", spb.AttrMatch_EQUAL, "v"))}, id: a, attrs: map[string]string{"k": "v"}, err: ErrDenied},
		"unequal":  {policies: []*spb.Policy{rules(when(deny("*"), "k", spb.AttrMatch_EQUAL, "v"))}, id: a},
		"notequal": {policies: []*spb.Policy{rules(when(deny("*"), "k", spb.AttrMatch_NOTEQUAL, "v"))}, id: a, err: ErrDenied},
		"matches":  {policies: []*spb.Policy{rules(when(deny("*"), "k", spb.AttrMatch_MATCHES, `\d$`))}, id: a, attrs: map[string]string{"k": "b1"}, err: ErrDenied},
		"one of two constraints": {
			policies: []*spb.Policy{rules(when(when(deny("*"), "k", spb.AttrMatch_EQUAL, "v"), "l", spb.AttrMatch_MATCHES, "x"))},
			id:       a, attrs: map[string]string{"k": "v"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Compile(tc.policies...)
			if err != nil {
				t.Fatal(err)
			}
			op := &pb.SourceOp{Identifier: tc.id, Attrs: maps.Clone(tc.attrs)}
			before := proto.Clone(op)
			changed, err := set.Apply(t.Context(), op)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if changed == proto.Equal(before, op) && !errors.Is(err, ErrTooManyRounds) {
				t.Errorf("changed is %v, %v became %v", changed, before, op)
			}
			if errors.Is(tc.err, errdefs.ErrInvalidArgument) {
				return
			}
			if tc.want == "" {
				tc.want = tc.id
			}
			if op.Identifier != tc.want || (tc.set != nil && !maps.Equal(op.Attrs, tc.set)) {
				t.Errorf("%s %v, want %s %v", op.Identifier, op.Attrs, tc.want, tc.set)
			}
		})
	}
}

// Texts are matched by clients.
func TestTexts(t *testing.T) {
	const a = "docker-image://docker.io/library/a:1"
	apply := func(p *spb.Policy) error {
		set, err := Compile(p)
		if err == nil {
			_, err = set.Apply(t.Context(), &pb.SourceOp{Identifier: a})
		}
		return err
	}
	for name, tc := range map[string]struct {
		policy *spb.Policy
		want   string
		kind   error
	}{
		"denied":   {rules(deny(a)), `source "` + a + `" denied by policy: source denied by policy`, errdefs.ErrPermissionDenied},
		"endless":  {rules(convert(regex, "(.)$", "${1}x")), "too many mutations on a single source: too many operations", errdefs.ErrInvalidArgument},
		"policy":   {nil, "invalid nil policy", errdefs.ErrInvalidArgument},
		"rule":     {rules(nil), "invalid nil rule in policy", errdefs.ErrInvalidArgument},
		"selector": {rules(&spb.Rule{}), "invalid nil selector in policy", errdefs.ErrInvalidArgument},
		"action":   {rules(&spb.Rule{Action: 9000, Selector: &spb.Selector{}}), "unknown type", errdefs.ErrInvalidArgument},
		"updates": {
			rules(&spb.Rule{Action: spb.PolicyAction_CONVERT, Selector: &spb.Selector{}}), "missing destination for convert rule", errdefs.ErrInvalidArgument,
		},
		"match type": {
			rules(&spb.Rule{Selector: &spb.Selector{MatchType: 7}}), "unknown match type", errdefs.ErrInvalidArgument,
		},
		"condition":      {rules(when(deny(a), "k", 7, "v")), "unknown attr condition", errdefs.ErrInvalidArgument},
		"condition text": {rules(when(deny(a), "k", spb.AttrMatch_MATCHES, "(")), "rule 0: constraint on \"k\": invalid regex", errdefs.ErrInvalidArgument},
		"regex":          {rules(convert(regex, "(", "x")), "invalid regex", errdefs.ErrInvalidArgument},
		"repetitions":    {rules(convert(regex, "(.{0,990}){0,1}.{0,990}.{0,990}.{0,990}.{0,990}", "x")), "stands for more than", errdefs.ErrInvalidArgument},
		"together": {
			rules(slices.Repeat([]*spb.Rule{convert(regex, ".{900}.{900}", "x")}, 1000)...), "too large together", errdefs.ErrInvalidArgument,
		},
		"stars": {rules(deny("a**")), "invalid wildcard", errdefs.ErrInvalidArgument},
		"nil constraint": {
			rules(&spb.Rule{Selector: &spb.Selector{Constraints: []*spb.AttrConstraint{nil}}}), "invalid nil constraint", errdefs.ErrInvalidArgument,
		},
		"pattern":  {rules(deny(strings.Repeat("a", maxPattern+1))), "at most", errdefs.ErrInvalidArgument},
		"template": {rules(convert(exact, a, strings.Repeat("a", maxPattern+1))), "too large", errdefs.ErrInvalidArgument},
		"value":    {rules(convert(exact, a, "", "k", strings.Repeat("a", maxAttr+1))), "too large", errdefs.ErrInvalidArgument},
		"rules":    {rules(make([]*spb.Rule, maxRules+1)...), "at most", errdefs.ErrInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			if err := apply(tc.policy); err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, tc.kind) {
				t.Errorf("%v, want %q of kind %v", err, tc.want, tc.kind)
			}
		})
	}
}

func TestSets(t *testing.T) {
	one, err := Compile(rules(convert(wild, "x://a", "x://b")))
	if err != nil {
		t.Fatal(err)
	}
	two, err := one.With(rules(deny("x://b")))
	if err != nil {
		t.Fatal(err)
	}
	op := &pb.SourceOp{Identifier: "x://a"}
	if _, err := two.Apply(t.Context(), op); !errors.Is(err, ErrDenied) {
		t.Errorf("%v, want it denied", err)
	}
	op = &pb.SourceOp{Identifier: "x://a"}
	if _, err := one.Apply(t.Context(), op); err != nil {
		t.Errorf("a set has changed: %v", err)
	}
	var none *Set
	if none.Before(one) != one || one.Before(none) != one || !none.Empty() || none.Before(none) != nil {
		t.Error("nil is not the empty set")
	}
	many := make([]*spb.Policy, maxPolicies+1)
	for i := range many {
		many[i] = rules(deny("x://c"))
	}
	if _, err := Compile(many...); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%d policies: %v", len(many), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := two.Apply(ctx, &pb.SourceOp{Identifier: "x://a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want it cancelled", err)
	}
}
