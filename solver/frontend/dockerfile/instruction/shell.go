package instruction

import (
	"errors"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Shell sets what runs the shell form of later instructions.
//
//	SHELL ["<program>", "<argument>"...]
type Shell struct {
	Meta
	Shell []string
}

// parseShell insists on the JSON form: split at blanks, a path with a blank
// would be two arguments.
func parseShell(raw *syntax.Instruction) (Instruction, error) {
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	if len(raw.Args) == 0 {
		return nil, errAtLeastOne("SHELL")
	}
	if !raw.JSON {
		return nil, errors.New("SHELL requires the arguments to be in JSON form")
	}
	return &Shell{Meta: meta(raw), Shell: raw.Args}, nil
}
