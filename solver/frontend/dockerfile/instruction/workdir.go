package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Workdir sets the working directory and creates it.
//
//	WORKDIR <path>
type Workdir struct {
	Meta
	Path string
}

func parseWorkdir(raw *syntax.Instruction) (Instruction, error) {
	path, err := single(raw, "WORKDIR")
	if err != nil {
		return nil, err
	}
	return &Workdir{Meta: meta(raw), Path: path}, nil
}

// Expand implements Expandable.
func (w *Workdir) Expand(x Expander) (Instruction, error) {
	out := *w
	if err := expandInto(x, &out.Path); err != nil {
		return nil, err
	}
	return &out, nil
}
