package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes beside 0.
const (
	exitFailure = 1
	// exitNoCommand is for a command that does not exist.
	exitNoCommand = 3
)

// noCommandError says that there is no such command.
type noCommandError struct{ name, parent string }

func (e *noCommandError) Error() string {
	return fmt.Sprintf("unknown command %q for %q", e.name, e.parent)
}

// ExitCode is what the program ends with after err.
func ExitCode(err error) int {
	var none *noCommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &none):
		return exitNoCommand
	}
	return exitFailure
}

// onlyCommands refuses arguments of a command that has only subcommands: they
// were meant for one.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &noCommandError{name: args[0], parent: cmd.CommandPath()}
	}
	return nil
}

// normalize returns arguments in the form that root reads: buildctl takes long
// flags with one dash as well. A single dash before something that is no long flag
// is left alone.
func normalize(root *cobra.Command, args []string) []string {
	long := map[string]bool{}
	collect(root, long)
	out := make([]string, 0, len(args))
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		name, _, _ := strings.Cut(a, "=")
		if len(name) > 2 && name[0] == '-' && name[1] != '-' && long[name[1:]] {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}

// collect notes the long flags of a command and those below it.
func collect(cmd *cobra.Command, long map[string]bool) {
	note := func(f *pflag.Flag) { long[f.Name] = true }
	cmd.LocalFlags().VisitAll(note)
	cmd.PersistentFlags().VisitAll(note)
	for _, sub := range cmd.Commands() {
		collect(sub, long)
	}
}
