package lower

import (
	"fmt"
	"path"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// setWorkdir changes the directory of later steps and of the image.
func (s *stage) setWorkdir(dir string) error {
	resolved, err := resolve(s.image.Config.WorkingDir, dir, s.system(), false)
	if err != nil {
		return fmt.Errorf("normalizing workdir: normalizing working directory: %w", err)
	}
	s.image.Config.WorkingDir = fromSlash(resolved, s.system())
	s.dir = resolved
	return nil
}

// workdir changes the directory and makes sure that it exists.
func (c *conversion) workdir(s *stage, i *instruction.Workdir, cmd *command) error {
	if !s.workdirSet && !isAbs(i.Path, s.system()) {
		c.opt.Linter.RelativeWorkdir(&i.Meta, i.Path)
	}
	s.workdirSet = true
	if err := s.setWorkdir(i.Path); err != nil {
		return err
	}
	if s.dir == "/" {
		return c.record(s, "WORKDIR "+s.dir, false)
	}
	mkdir := compose.Mkdir{Path: path.Clean(s.dir), Mode: 0o755, Parents: true, Created: c.epoch}
	if user := s.image.Config.User; user != "" {
		mkdir.Owner = owner(user)
	}
	name := onbuildMark(cmd) + c.shown(shell.Expander{}, i.Text, s.env)
	s.files = &node{
		label: label{name: c.stepName(s, name, s.platform, s.env), ranges: i.Ranges},
		work:  &fileWork{base: s.files, actions: []fileAction{{other: mkdir}}},
	}
	return c.record(s, "WORKDIR "+s.dir, true)
}
