package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Stopsignal sets the signal that stops a container.
//
//	STOPSIGNAL <signal>
type Stopsignal struct {
	Meta
	Signal string
}

// parseStopsignal looks at no flags, and the signal is only checked once
// variables are replaced.
func parseStopsignal(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) != 1 {
		return nil, errExactlyOne("STOPSIGNAL")
	}
	return &Stopsignal{Meta: meta(raw), Signal: raw.Args[0]}, nil
}

// Expand implements Expandable.
func (s *Stopsignal) Expand(x Expander) (Instruction, error) {
	out := *s
	if err := expandInto(x, &out.Signal); err != nil {
		return nil, err
	}
	return &out, nil
}
