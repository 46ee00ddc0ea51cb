package lower

import (
	"slices"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
)

// fireTriggers puts the triggers of a stage's base in front of its
// instructions. It tells whether they read from stages that may not be resolved
// yet.
func (c *conversion) fireTriggers(s *stage) (more bool, err error) {
	if s.triggered || s.foreign {
		return false, nil // files that are only copied from trigger nothing
	}
	s.triggered = true
	var triggers []string
	if s.base != nil {
		for _, cmd := range s.base.commands {
			if onbuild, ok := cmd.Instruction.(*instruction.Onbuild); ok {
				triggers = append(triggers, onbuild.Trigger)
			}
		}
	} else if s.image != nil {
		triggers, s.image.Config.OnBuild = s.image.Config.OnBuild, nil
	}
	fired := make([]command, 0, len(triggers))
	for _, trigger := range triggers {
		parsed, err := instruction.ParseTrigger(trigger, s.source.Ranges)
		if err != nil {
			return false, err
		}
		cmd := command{Instruction: parsed, onbuild: true}
		if err := c.bindCommand(s, &cmd); err != nil {
			return false, err
		}
		more = more || len(cmd.from) > 0
		fired = append(fired, cmd)
	}
	s.commands = slices.Concat(fired, s.commands)
	s.total += len(fired)
	return more, nil
}
