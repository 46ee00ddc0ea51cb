package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Command is the command line of RUN, CMD and ENTRYPOINT.
type Command struct {
	// Args are the words of the JSON form, or the text of the shell form as one
	// word; empty if there is none.
	Args []string
	// Shell tells that the image's shell has to be put in front.
	Shell bool
	// Heredocs follow the line; only RUN has any.
	Heredocs []syntax.Heredoc
}

// parseCommand makes an empty list of no arguments: image configurations tell
// it from none.
func parseCommand(raw *syntax.Instruction) Command {
	args := raw.Args
	if args == nil {
		args = []string{}
	}
	return Command{Args: args, Shell: !raw.JSON, Heredocs: raw.Heredocs}
}
