package lower

import (
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
)

// arg declares arguments: a given value wins over a default, a default over the
// global argument of the same name.
func (c *conversion) arg(s *stage, i *instruction.Arg) error {
	texts := make([]string, 0, len(i.Args))
	for _, a := range i.Args {
		c.opt.Linter.Secret(&i.Meta, "ARG", a.Name)
		value, inherited, err := c.argValue(s, i, a)
		if err != nil {
			return err
		}
		s.inputs.declare(a, value, i.Ranges, inherited)
		text := a.Name
		if value != nil {
			if !hiddenArgs[a.Name] {
				s.env.set(a.Name, *value)
			}
			text += "=" + *value
		}
		s.declare(a.Name, value)
		texts = append(texts, text)
	}
	return c.record(s, "ARG "+strings.Join(texts, " "), false)
}

// declare adds an argument to the stage.
func (s *stage) declare(name string, value *string) {
	s.args = append(s.args, declaredArg{name: name, value: value})
	if s.argNames == nil {
		s.argNames = map[string]struct{}{}
	}
	s.argNames[name] = struct{}{}
}

// argValue is an argument's value, nil for none; inherited tells that it is the
// global argument's.
func (c *conversion) argValue(s *stage, i *instruction.Arg, a instruction.Argument) (value *string, inherited bool, err error) {
	if given, ok := c.opt.BuildArgs[a.Name]; ok {
		return &given, false, nil
	}
	if a.Default == nil {
		global, ok := c.args.Get(a.Name)
		if !ok {
			return nil, false, nil
		}
		return &global, true, nil
	}
	expanded, err := scope{c: c, s: s, about: &i.Meta}.Word(*a.Default)
	return &expanded, false, err
}
