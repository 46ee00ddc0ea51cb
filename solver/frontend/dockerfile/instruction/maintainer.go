package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Maintainer sets the image's author. Deprecated in favour of a label.
//
//	MAINTAINER <name>
type Maintainer struct {
	Meta
	Name string
}

func parseMaintainer(raw *syntax.Instruction) (Instruction, error) {
	name, err := single(raw, "MAINTAINER")
	if err != nil {
		return nil, err
	}
	return &Maintainer{Meta: meta(raw), Name: name}, nil
}
