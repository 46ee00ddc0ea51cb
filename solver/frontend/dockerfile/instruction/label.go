package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Label sets image labels.
//
//	LABEL <name>=<value>...
type Label struct {
	Meta
	Pairs []Pair
}

func parseLabel(raw *syntax.Instruction) (Instruction, error) {
	pairs, err := parsePairs(raw, "LABEL")
	if err != nil {
		return nil, err
	}
	return &Label{Meta: meta(raw), Pairs: pairs}, nil
}

// Expand implements Expandable.
func (l *Label) Expand(x Expander) (Instruction, error) {
	pairs, err := expandPairs(l.Pairs, x)
	if err != nil {
		return nil, err
	}
	return &Label{Meta: l.Meta, Pairs: pairs}, nil
}
