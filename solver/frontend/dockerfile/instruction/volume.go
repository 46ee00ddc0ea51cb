package instruction

import (
	"errors"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// ErrEmptyVolume is the failure of VOLUME with a path that is, or expands to,
// nothing.
var ErrEmptyVolume = errors.New("VOLUME specified can not be an empty string")

// Volume declares mount points.
//
//	VOLUME <path>...
type Volume struct {
	Meta
	Paths []string
}

// parseVolume trims paths; that they are not empty is checked again after
// expansion.
func parseVolume(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) == 0 {
		return nil, errAtLeastOne("VOLUME")
	}
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	out := &Volume{Meta: meta(raw)}
	for _, path := range raw.Args {
		if path = strings.TrimSpace(path); path == "" {
			return nil, ErrEmptyVolume
		}
		out.Paths = append(out.Paths, path)
	}
	return out, nil
}

// Expand implements Expandable.
func (v *Volume) Expand(x Expander) (Instruction, error) {
	paths, err := expandAll(v.Paths, x)
	if err != nil {
		return nil, err
	}
	return &Volume{Meta: v.Meta, Paths: paths}, nil
}
