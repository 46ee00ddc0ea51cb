package lower

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// maxStages bounds the number of stages, sources of COPY and mounts together.
const maxStages = 10000

// bind ties every instruction to the stages it reads from. Names that no stage
// has become foreign stages.
func (c *conversion) bind() error {
	// Foreign stages are added to the list as it is walked; they have no
	// instructions of their own.
	for i := 0; i < len(c.stages); i++ {
		s := c.stages[i]
		for j := range s.commands {
			if err := c.bindCommand(s, &s.commands[j]); err != nil {
				return err
			}
		}
	}
	if err := c.checkCircles(); err != nil {
		return err
	}
	if len(c.stages) == 1 {
		c.stages[0].label = ""
	}
	return nil
}

// bindCommand finds the stages that one instruction reads from. Every foreign
// stage is a new one even if its name was used before, and counts as a stage:
// names of steps depend on their number.
func (c *conversion) bindCommand(s *stage, cmd *command) error {
	var err error
	switch i := cmd.Instruction.(type) {
	case *instruction.Copy:
		if i.From == "" {
			return nil
		}
		var from *stage
		if from, err = c.copySource(i); err != nil {
			return err
		}
		cmd.from = []*stage{from}
	case *instruction.Run:
		for _, mount := range i.Mounts {
			cmd.from = append(cmd.from, c.mountSource(mount))
		}
	}
	for _, from := range cmd.from {
		s.uses = append(s.uses, use{of: from, by: cmd.About()})
		if from.foreign && !from.listed {
			if len(c.stages) == maxStages {
				return fmt.Errorf("more than the max allowed number of %d stages, copy sources and mounts", maxStages)
			}
			c.addStage(from)
		}
	}
	return nil
}

// copySource finds what COPY --from names: a stage, by name or number, or
// something foreign.
func (c *conversion) copySource(i *instruction.Copy) (*stage, error) {
	expanded, err := shell.Expander{Escape: c.file.Escape}.Expand(i.From, nil)
	if err != nil {
		return nil, err
	}
	if expanded.Text != i.From {
		return nil, errors.New("variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround")
	}
	if number, err := strconv.Atoi(i.From); err == nil {
		if number < 0 || number >= len(c.stages) {
			return nil, fmt.Errorf("invalid stage index %d", number)
		}
		return c.stages[number], nil
	}
	if s, ok := c.find(i.From); ok {
		return s, nil
	}
	return foreignStage(i.From, i.Ranges), nil
}

// mountSource finds what a mount takes files from. Mounts without a source get
// an empty stage.
func (c *conversion) mountSource(mount *instruction.Mount) *stage {
	name := mount.From
	if name == "" {
		name = scratch
	}
	if s, ok := c.find(name); ok {
		return s
	}
	return foreignStage(name, nil)
}

// foreignStage makes a stage of a name that no FROM declares. It has no
// instructions; what it gives is its base.
func foreignStage(name string, ranges []syntax.Range) *stage {
	source := &instruction.Stage{Base: name, Meta: instruction.Meta{Ranges: ranges}}
	return &stage{source: source, baseName: name, foreign: true, reads: &pathSet{}}
}

// checkCircles refuses stages that copy from each other in a circle.
func (c *conversion) checkCircles() error {
	visited, onPath := map[*stage]bool{}, map[*stage]bool{}
	var visit func(s *stage, path []use) []use
	visit = func(s *stage, path []use) []use {
		if visited[s] {
			return nil
		}
		visited[s], onPath[s] = true, true
		for _, u := range s.uses {
			next := append(path[:len(path):len(path)], u)
			if onPath[u.of] {
				return next
			}
			if circle := visit(u.of, next); circle != nil {
				return circle
			}
		}
		delete(onPath, s)
		return nil
	}
	for _, s := range c.stages {
		circle := visit(s, nil)
		if circle == nil {
			continue
		}
		err := fmt.Errorf("circular dependency detected on stage: %s", s.label)
		for _, u := range circle {
			err = syntax.At(err, u.by.Ranges)
		}
		return err
	}
	return nil
}

// reachable lists what a stage needs, itself included.
func reachable(target *stage) map[*stage]bool {
	found := map[*stage]bool{}
	todo := []*stage{target}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s == nil || found[s] {
			continue
		}
		found[s] = true
		todo = append(todo, s.base)
		for _, u := range s.uses {
			todo = append(todo, u.of)
		}
	}
	return found
}
