package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Warning is what a rule found.
type Warning struct {
	Rule *Rule
	// Message says what is wrong with these lines in particular.
	Message string
	// Ranges are the lines.
	Ranges []syntax.Range
}

// Short is the one line that build logs show.
func (w Warning) Short() string {
	short := w.Rule.Name + ": " + w.Message
	if first, _ := syntax.Span(w.Ranges); first > 0 {
		short += fmt.Sprintf(" (line %d)", first)
	}
	return short
}

// Linter passes on the warnings of the rules that apply. A nil Linter passes on
// nothing.
type Linter struct {
	config Config
	sink   func(Warning)
	// fired and count are shared by the linters made by For.
	fired map[string]bool
	count *int
}

// MaxWarnings bounds the warnings of one linter. Nobody reads more, and every
// one costs a search for a suggestion.
const MaxWarnings = 1000

// New makes a linter. sink is called for each warning, in order.
func New(config Config, sink func(Warning)) *Linter {
	return &Linter{config: config, sink: sink, fired: map[string]bool{}, count: new(int)}
}

// For returns the linter for one instruction, given the comments above it.
func (l *Linter) For(comments []string) *Linter {
	extra, ok := commentConfig(comments)
	if l == nil || !ok {
		return l
	}
	narrowed := *l
	narrowed.config.Skip = slices.Concat(l.config.Skip, extra.Skip)
	narrowed.config.Experimental = slices.Concat(l.config.Experimental, extra.Experimental)
	narrowed.config.SkipAll = l.config.SkipAll || extra.SkipAll
	narrowed.config.ExperimentalAll = l.config.ExperimentalAll || extra.ExperimentalAll
	return &narrowed
}

// Err is the failure of a build that treats warnings as errors, nil if there is
// none.
func (l *Linter) Err() error {
	if l == nil || !l.config.Error || len(l.fired) == 0 {
		return nil
	}
	return fmt.Errorf("lint violation found for rules: %s", strings.Join(slices.Sorted(maps.Keys(l.fired)), ", "))
}

// applies tells whether warnings of a rule are wanted. Skipping does not
// concern experimental rules: they are off unless named.
func (l *Linter) applies(rule *Rule) bool {
	if l == nil || l.sink == nil || *l.count >= MaxWarnings {
		return false
	}
	if rule.Experimental {
		return l.config.ExperimentalAll || slices.Contains(l.config.Experimental, rule.Name)
	}
	return !l.config.SkipAll && !slices.Contains(l.config.Skip, rule.Name)
}

// warn passes a warning on if its rule applies. What was passed on counts for
// Err; what was skipped does not.
func (l *Linter) warn(rule *Rule, ranges []syntax.Range, format string, args ...any) {
	if !l.applies(rule) {
		return
	}
	*l.count++
	l.fired[rule.Name] = true
	l.sink(Warning{Rule: rule, Message: fmt.Sprintf(format, args...), Ranges: ranges})
}
