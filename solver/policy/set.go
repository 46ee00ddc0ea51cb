package policy

import (
	"context"
	"fmt"
	"slices"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// Set has the policies that apply together, compiled. Nil is a Set without
// policies.
type Set struct {
	policies [][]rule
}

// rule is a compiled rule.
type rule struct {
	action   spb.PolicyAction
	selector *selector
	// identifier is the template of a conversion; empty leaves it as it is.
	identifier string
	attrs      map[string]string
}

// Compile checks policies; nil ones are errors and ones without rules are left
// out. Errors are errdefs InvalidArgument and name policy and rule by number,
// from 0.
func Compile(policies ...*spb.Policy) (*Set, error) {
	var s *Set
	return s.With(policies...)
}

// With returns a Set in which more policies apply after those of s.
func (s *Set) With(more ...*spb.Policy) (*Set, error) {
	out := &Set{}
	if s != nil {
		out.policies = slices.Clone(s.policies)
	}
	b := newBudget()
	for i, p := range more {
		if p == nil {
			return nil, invalidf("invalid nil policy")
		}
		rules, err := b.rules(p)
		if err != nil {
			return nil, fmt.Errorf("source policy %d: %w", i, err)
		}
		if len(rules) > 0 {
			out.policies = append(out.policies, rules)
		}
	}
	if len(out.policies) > maxPolicies {
		return nil, invalidf("%d source policies, at most %d are allowed", len(out.policies), maxPolicies)
	}
	return out, nil
}

// Before returns a Set in which the policies of other apply after those of s.
func (s *Set) Before(other *Set) *Set {
	switch {
	case s.Empty():
		return other
	case other.Empty():
		return s
	}
	return &Set{policies: slices.Concat(s.policies, other.policies)}
}

// Empty reports whether the Set lets everything through as it is.
func (s *Set) Empty() bool { return s == nil || len(s.policies) == 0 }

func (b *budget) rules(p *spb.Policy) ([]rule, error) {
	if len(p.GetRules()) > maxRules {
		return nil, invalidf("%d rules, at most %d are allowed", len(p.GetRules()), maxRules)
	}
	var out []rule
	for i, in := range p.GetRules() {
		if in == nil {
			return nil, invalidf("invalid nil rule in policy")
		}
		r, err := b.rule(in)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (b *budget) rule(in *spb.Rule) (rule, error) {
	sel, err := b.selector(in.GetSelector())
	if err != nil {
		return rule{}, err
	}
	r := rule{action: in.GetAction(), selector: sel}
	switch r.action {
	case spb.PolicyAction_ALLOW, spb.PolicyAction_DENY:
		return r, nil
	case spb.PolicyAction_CONVERT:
	default:
		return rule{}, invalidf("rule %s %.256s: unknown type", r.action, sel.literal)
	}
	up := in.GetUpdates()
	if up == nil {
		return rule{}, invalidf("missing destination for convert rule")
	}
	if len(up.GetIdentifier()) > maxPattern || len(up.GetAttrs()) > maxUpdates {
		return rule{}, invalidf("updates are too large: at most %d bytes of identifier and %d attributes are allowed", maxPattern, maxUpdates)
	}
	for k, v := range up.GetAttrs() {
		if len(k) > maxPattern || len(v) > maxAttr {
			return rule{}, invalidf("update of attribute %.64q is too large, at most %d bytes are allowed", k, maxAttr)
		}
	}
	r.identifier, r.attrs = up.GetIdentifier(), up.GetAttrs()
	return r, nil
}

// Apply has all policies look at a source, which is changed in place, and
// reports whether it was. The error matches ErrDenied or ErrTooManyRounds, or
// comes from ctx; the source may have been changed by then.
func (s *Set) Apply(ctx context.Context, op *pb.SourceOp) (changed bool, err error) {
	if s.Empty() {
		return false, nil
	}
	for range maxRounds + 1 {
		again, err := s.round(ctx, op)
		changed = changed || again
		if err != nil || !again {
			return changed, err
		}
	}
	return changed, fmt.Errorf("too many mutations on a single source: %w", ErrTooManyRounds)
}

// round applies the policies in order until one changes the source.
func (s *Set) round(ctx context.Context, op *pb.SourceOp) (changed bool, err error) {
	for _, rules := range s.policies {
		denied := false
		for i := range rules {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			r := &rules[i]
			if !r.selector.match(op.GetIdentifier(), op.GetAttrs()) {
				continue
			}
			if r.action != spb.PolicyAction_CONVERT {
				denied = r.action == spb.PolicyAction_DENY
				continue
			}
			if changed, err = r.convert(op); changed || err != nil {
				return changed, err
			}
		}
		if denied {
			return false, fmt.Errorf("source %q denied by policy: %w", op.GetIdentifier(), ErrDenied)
		}
	}
	return false, nil
}

// convert replaces identifier and attributes and reports whether that made a
// difference.
func (r *rule) convert(op *pb.SourceOp) (changed bool, err error) {
	if r.identifier != "" {
		id := r.selector.format(op.GetIdentifier(), r.identifier)
		if len(id) > maxIdentifier {
			return false, invalidf("policy makes an identifier of %d bytes of %.64q, at most %d are allowed", len(id), op.GetIdentifier(), maxIdentifier)
		}
		if id != "" && id != op.GetIdentifier() {
			op.Identifier, changed = id, true
		}
	}
	for k, v := range r.attrs {
		// A missing attribute and an empty one mean the same.
		if op.GetAttrs()[k] == v {
			continue
		}
		if op.Attrs == nil {
			op.Attrs = map[string]string{}
		}
		op.Attrs[k], changed = v, true
	}
	return changed, nil
}
