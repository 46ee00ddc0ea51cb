package policy

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// budget is what the patterns of one Compile may still cost.
type budget struct{ left int }

// newBudget is what patterns sent together may cost.
func newBudget() *budget { return &budget{left: maxCost} }

// spend takes the cost of one pattern.
func (b *budget) spend(cost int) error {
	if b.left -= cost; b.left < 0 {
		return invalidf("patterns of source policies are too large together")
	}
	return nil
}

// regex compiles a regular expression whose counted repetitions do not make it
// many times longer than it looks: {1000} in three bytes each is how a short
// policy would take gigabytes.
func (b *budget) regex(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, invalidf("regex has %d bytes, at most %d are allowed", len(text), maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, invalidf("invalid regex %q: %v", text, err)
	}
	cost := costOf(tree)
	if cost > maxPattern {
		return nil, invalidf("invalid regex %q: it stands for more than %d characters", text, maxPattern)
	}
	if err := b.spend(cost); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, invalidf("invalid regex %q: %v", text, err)
	}
	return re, nil
}

// costOf is about how many steps a program for the expression has, or more
// than maxPattern.
func costOf(tree *syntax.Regexp) int {
	cost := 1 + len(tree.Rune)
	for _, sub := range tree.Sub {
		cost += costOf(sub)
	}
	if tree.Op == syntax.OpRepeat {
		cost *= max(tree.Min, tree.Max, 1)
	}
	return min(cost, maxPattern+1)
}

// wildcard makes every star a group, numbered from 1; nil if there is none.
// Two stars in a row would be two groups of which one is always empty.
func (b *budget) wildcard(text string) (*regexp.Regexp, error) {
	if !strings.Contains(text, "*") {
		return nil, nil
	}
	if strings.Contains(text, "**") {
		return nil, invalidf("invalid wildcard %q: \"**\"", text)
	}
	if err := b.spend(len(text)); err != nil {
		return nil, err
	}
	parts := strings.Split(text, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	re, err := regexp.Compile("^" + strings.Join(parts, "(.*)") + "$")
	if err != nil {
		return nil, invalidf("invalid wildcard %q: %v", text, err)
	}
	return re, nil
}
