package policy

import (
	"fmt"
	"regexp"

	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// selector is a compiled selector of a rule.
type selector struct {
	// literal always matches itself, whatever the kind of the selector.
	literal string
	// pattern is nil if only the literal matches.
	pattern *regexp.Regexp
	// whole says that pattern matches from beginning to end, so that a
	// template stands for all of the identifier and not for a part of it.
	whole       bool
	constraints []constraint
}

// constraint is a condition on one attribute; a missing one is empty.
type constraint struct {
	key, value string
	condition  spb.AttrMatch
	pattern    *regexp.Regexp
}

// selector reads a selector. Errors are errdefs InvalidArgument.
func (b *budget) selector(in *spb.Selector) (*selector, error) {
	if in == nil {
		return nil, invalidf("invalid nil selector in policy")
	}
	if len(in.GetIdentifier()) > maxPattern {
		return nil, invalidf("selector has %d bytes, at most %d are allowed", len(in.GetIdentifier()), maxPattern)
	}
	out := &selector{literal: in.GetIdentifier()}
	var err error
	switch in.GetMatchType() {
	case spb.MatchType_EXACT:
	case spb.MatchType_REGEX:
		out.pattern, err = b.regex(out.literal)
	case spb.MatchType_WILDCARD:
		out.whole = true
		out.pattern, err = b.wildcard(out.literal)
	default:
		return nil, invalidf("unknown match type: %s", in.GetMatchType())
	}
	if err != nil {
		return nil, err
	}
	out.constraints, err = b.constraints(in.GetConstraints())
	return out, err
}

func (b *budget) constraints(in []*spb.AttrConstraint) ([]constraint, error) {
	if len(in) > maxConstraints {
		return nil, invalidf("%d constraints in a selector, at most %d are allowed", len(in), maxConstraints)
	}
	var out []constraint
	for _, c := range in {
		if c == nil {
			return nil, invalidf("invalid nil constraint in policy")
		}
		if len(c.GetKey()) > maxPattern || len(c.GetValue()) > maxAttr {
			return nil, invalidf("constraint on %.64q is too long", c.GetKey())
		}
		k := constraint{key: c.GetKey(), value: c.GetValue(), condition: c.GetCondition()}
		switch k.condition {
		case spb.AttrMatch_EQUAL, spb.AttrMatch_NOTEQUAL:
		case spb.AttrMatch_MATCHES:
			var err error
			if k.pattern, err = b.regex(k.value); err != nil {
				return nil, fmt.Errorf("constraint on %q: %w", k.key, err)
			}
		default:
			return nil, invalidf("unknown attr condition: %s", k.condition)
		}
		out = append(out, k)
	}
	return out, nil
}

// match reports whether a source is meant.
func (s *selector) match(identifier string, attrs map[string]string) bool {
	for i := range s.constraints {
		if !s.constraints[i].match(attrs) {
			return false
		}
	}
	return identifier == s.literal || (s.pattern != nil && s.pattern.MatchString(identifier))
}

func (c *constraint) match(attrs map[string]string) bool {
	have := attrs[c.key]
	switch c.condition {
	case spb.AttrMatch_NOTEQUAL:
		return have != c.value
	case spb.AttrMatch_MATCHES:
		return c.pattern.MatchString(have)
	default:
		return have == c.value
	}
}

// format fills the groups of the pattern into a template, where they are
// called ${1} and so on. A regular expression replaces every part of the
// identifier that it matches and leaves the rest.
func (s *selector) format(identifier, template string) string {
	switch {
	case s.pattern == nil:
		return template
	case !s.whole:
		return s.pattern.ReplaceAllString(identifier, template)
	}
	groups := s.pattern.FindStringSubmatchIndex(identifier)
	if groups == nil {
		return identifier
	}
	return string(s.pattern.ExpandString(nil, template, identifier, groups))
}
