package instruction

import (
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Instruction is any instruction but FROM.
type Instruction interface {
	// About returns what all instructions have in common.
	About() *Meta
}

// Meta is what all instructions have in common.
type Meta struct {
	// Keyword in the case it was written in.
	Keyword string
	// Text is the whole logical line, trimmed.
	Text string
	// Ranges are the instruction's lines.
	Ranges []syntax.Range
	// Comments stand above the instruction.
	Comments []string
}

// About implements Instruction for the types that embed Meta.
func (m *Meta) About() *Meta { return m }

// Expander replaces variables.
type Expander interface {
	// Word expands an argument: quotes and escapes are processed.
	Word(text string) (string, error)
	// Document expands a here-document: quotes have no meaning.
	Document(text string) (string, error)
}

// Expandable instructions take variables.
type Expandable interface {
	Instruction
	// Expand returns an expanded copy; the receiver stays as it is.
	Expand(x Expander) (Instruction, error)
}

// Pair is an assignment.
type Pair struct {
	Name, Value string
	// Legacy tells the form without an equals sign.
	Legacy bool
}

// String gives NAME=value.
func (p Pair) String() string { return p.Name + "=" + p.Value }

// meta takes over what all instructions have in common.
func meta(raw *syntax.Instruction) Meta {
	return Meta{Keyword: raw.Keyword, Text: strings.TrimSpace(raw.Source), Ranges: raw.Ranges(), Comments: raw.Comments}
}

// expandPairs expands names as well as values. All see the variables from
// before the instruction.
func expandPairs(pairs []Pair, x Expander) ([]Pair, error) {
	out := make([]Pair, len(pairs))
	for i, pair := range pairs {
		name, err := x.Word(pair.Name)
		if err != nil {
			return nil, err
		}
		value, err := x.Word(pair.Value)
		if err != nil {
			return nil, err
		}
		out[i] = Pair{Name: name, Value: value, Legacy: pair.Legacy}
	}
	return out, nil
}

// expandAll expands words into a new list.
func expandAll(words []string, x Expander) ([]string, error) {
	out := make([]string, len(words))
	for i, word := range words {
		var err error
		if out[i], err = x.Word(word); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// expandInto expands each string in place; the strings belong to a copy
// already.
func expandInto(x Expander, words ...*string) error {
	for _, word := range words {
		var err error
		if *word, err = x.Word(*word); err != nil {
			return err
		}
	}
	return nil
}
