package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Entrypoint sets what the image runs.
//
//	ENTRYPOINT <command>
type Entrypoint struct {
	Meta
	Command
}

// parseEntrypoint differs from parseCmd in what an empty array means.
func parseEntrypoint(raw *syntax.Instruction) (Instruction, error) {
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	out := &Entrypoint{Meta: meta(raw), Command: parseCommand(raw)}
	if len(out.Args) == 0 {
		out.Args = nil // an empty array resets the entry point rather than setting an empty one
	}
	return out, nil
}
