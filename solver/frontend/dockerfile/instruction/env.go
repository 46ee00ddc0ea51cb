package instruction

import (
	"fmt"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Env sets environment variables.
//
//	ENV <name>=<value>...
type Env struct {
	Meta
	Pairs []Pair
}

// parseEnv takes both forms; the old one is only warned about.
func parseEnv(raw *syntax.Instruction) (Instruction, error) {
	pairs, err := parsePairs(raw, "ENV")
	if err != nil {
		return nil, err
	}
	return &Env{Meta: meta(raw), Pairs: pairs}, nil
}

// Expand implements Expandable.
func (e *Env) Expand(x Expander) (Instruction, error) {
	pairs, err := expandPairs(e.Pairs, x)
	if err != nil {
		return nil, err
	}
	return &Env{Meta: e.Meta, Pairs: pairs}, nil
}

// parsePairs checks the assignments of ENV and LABEL.
func parsePairs(raw *syntax.Instruction, keyword string) ([]Pair, error) {
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	if len(raw.Pairs) == 0 {
		return nil, errAtLeastOne(keyword)
	}
	pairs := make([]Pair, len(raw.Pairs))
	for i, pair := range raw.Pairs {
		if pair.Name == "" {
			return nil, fmt.Errorf("%s names can not be blank", keyword)
		}
		pairs[i] = Pair(pair)
	}
	return pairs, nil
}
