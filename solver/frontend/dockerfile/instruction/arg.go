package instruction

import (
	"errors"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Arg declares build arguments.
//
//	ARG <name>[=<default>]...
type Arg struct {
	Meta
	Args []Argument
}

// Argument is one declaration. Its default is expanded only if it is used.
type Argument struct {
	Name string
	// Default is nil when none is given.
	Default *string
	// Description is the comment above ARG that starts with the argument's
	// name, without the name.
	Description string
}

// parseArg looks at no flags: ARG has none, and words with dashes before the
// name have always been ignored.
func parseArg(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) == 0 {
		return nil, errAtLeastOne("ARG")
	}
	out := &Arg{Meta: meta(raw)}
	for _, word := range raw.Args {
		argument := Argument{Name: word}
		if name, value, ok := strings.Cut(word, "="); ok {
			if name == "" {
				return nil, errors.New("ARG names can not be blank")
			}
			argument.Name, argument.Default = name, &value
		}
		argument.Description = describe(raw.Comments, argument.Name)
		out.Args = append(out.Args, argument)
	}
	return out, nil
}
