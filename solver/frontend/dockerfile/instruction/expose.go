package instruction

import (
	"slices"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Expose declares ports. Each argument may expand to several ports, so it is
// the builder that expands them.
//
//	EXPOSE <port>[-<port>][/<protocol>]...
type Expose struct {
	Meta
	// Ports in alphabetical order.
	Ports []string
}

// parseExpose sorts before variables are replaced. The order shows in the
// history, and so in the image's digest.
func parseExpose(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) == 0 {
		return nil, errAtLeastOne("EXPOSE")
	}
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	return &Expose{Meta: meta(raw), Ports: slices.Sorted(slices.Values(raw.Args))}, nil
}
