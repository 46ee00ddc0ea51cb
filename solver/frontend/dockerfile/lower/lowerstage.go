package lower

import (
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// lowerStage makes the steps of one stage. The stages it reads from come before
// it.
func (c *conversion) lowerStage(s *stage) error {
	s.inherit()
	s.lowered = true
	if s.image == nil {
		s.image = emptyImage(c.target) // a stage that only checking looks at, and whose base was not looked up
	}
	if s.platform == nil {
		s.platform = &c.target
	}
	s.adopt()
	if dir := s.image.Config.WorkingDir; dir != "" {
		if err := s.setWorkdir(dir); err != nil {
			return syntax.At(err, s.source.Ranges)
		}
	}
	for i := range s.commands {
		cmd := &s.commands[i]
		if err := c.lowerCommand(s, cmd); err != nil {
			return syntax.At(err, cmd.About().Ranges)
		}
	}
	return nil
}

// adopt takes variables and user over from the image configuration.
func (s *stage) adopt() {
	if s.env == nil {
		s.env = newEnviron()
	}
	hasPath := false
	for _, entry := range s.image.Config.Env {
		name, value, _ := strings.Cut(entry, "=")
		hasPath = hasPath || name == "PATH"
		s.env.set(name, value)
	}
	if !hasPath && s.system() != windows {
		s.image.Config.Env = append(s.image.Config.Env, "PATH="+defaultPath)
		s.env.set("PATH", defaultPath)
	}
	if s.image.Config.User != "" {
		s.user = s.image.Config.User
	}
}

// lowerCommand expands an instruction and does what it says.
func (c *conversion) lowerCommand(s *stage, cmd *command) error {
	current := cmd.Instruction
	if expandable, ok := current.(instruction.Expandable); ok {
		var err error
		if current, err = expandable.Expand(scope{c: c, s: s, about: current.About()}); err != nil {
			return err
		}
	}
	switch i := current.(type) {
	case *instruction.Run:
		return c.runCommand(s, i, cmd)
	case *instruction.Copy:
		return c.copyFiles(s, i, cmd)
	case *instruction.Add:
		return c.addFiles(s, i, cmd)
	case *instruction.Workdir:
		return c.workdir(s, i, cmd)
	case *instruction.Arg:
		return c.arg(s, i)
	case *instruction.Env:
		return c.env(s, i)
	default:
		return c.configure(s, i)
	}
}

// configure handles the instructions that only change the image configuration.
func (c *conversion) configure(s *stage, current instruction.Instruction) error {
	switch i := current.(type) {
	case *instruction.Label:
		return c.labels(s, i)
	case *instruction.Cmd:
		return c.cmd(s, i)
	case *instruction.Entrypoint:
		return c.entrypoint(s, i)
	case *instruction.Healthcheck:
		return c.healthcheck(s, i)
	case *instruction.Expose:
		return c.expose(s, i)
	case *instruction.User:
		return c.setUser(s, i)
	case *instruction.Volume:
		return c.volumes(s, i)
	case *instruction.Stopsignal:
		return c.stopSignal(s, i)
	case *instruction.Shell:
		return c.shell(s, i)
	case *instruction.Maintainer:
		s.image.Author = i.Name
		return c.record(s, "MAINTAINER "+i.Name, false)
	case *instruction.Onbuild:
		s.image.Config.OnBuild = append(s.image.Config.OnBuild, i.Trigger)
		return nil
	}
	return fmt.Errorf("instruction %s cannot be lowered", current.About().Keyword)
}

// record adds a line to the image's history.
func (c *conversion) record(s *stage, text string, layer bool) error {
	if err := c.budget.spend(len(text)); err != nil {
		return err
	}
	s.image.History = append(s.image.History, history(text, layer, c.epoch))
	return nil
}

// onbuildMark marks the names of steps that come from triggers.
func onbuildMark(cmd *command) string {
	if cmd.onbuild {
		return "ONBUILD "
	}
	return ""
}
