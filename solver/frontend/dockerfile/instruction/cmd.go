package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Cmd sets the default command of the image.
//
//	CMD <command>
type Cmd struct {
	Meta
	Command
}

// parseCmd accepts an empty command, which in shell form runs an empty line.
func parseCmd(raw *syntax.Instruction) (Instruction, error) {
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	return &Cmd{Meta: meta(raw), Command: parseCommand(raw)}, nil
}
