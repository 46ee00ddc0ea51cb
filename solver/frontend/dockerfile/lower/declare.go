package lower

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// predefined are the arguments every file has before its own.
func (c *conversion) predefined() *environ {
	native, target := c.opt.BuildPlatforms[0], c.target
	stageName := c.opt.Target
	if stageName == "" {
		stageName = c.file.Stages[len(c.file.Stages)-1].Name
	}
	if stageName == "" {
		stageName = "default"
	}
	args := newEnviron()
	for _, arg := range [][2]string{
		{"BUILDPLATFORM", platforms.Format(native)}, {"BUILDOS", native.OS}, {"BUILDOSVERSION", native.OSVersion},
		{"BUILDARCH", native.Architecture}, {"BUILDVARIANT", native.Variant},
		{"TARGETPLATFORM", platforms.FormatAll(target)}, {"TARGETOS", target.OS}, {"TARGETOSVERSION", target.OSVersion},
		{"TARGETARCH", target.Architecture}, {"TARGETVARIANT", target.Variant}, {"TARGETSTAGE", stageName},
	} {
		name, value := arg[0], arg[1]
		if given, ok := c.opt.BuildArgs[name]; ok {
			value = given
		}
		args.set(name, value)
	}
	return args
}

// globalArgs adds the ARGs above the first FROM, given values taking the place
// of defaults. declared are all their names.
func (c *conversion) globalArgs(given map[string]string) (args *environ, declared []string, err error) {
	args = c.predefined()
	for _, arg := range c.file.Args {
		for _, a := range arg.Args {
			value, ok := given[a.Name]
			var from map[string]struct{}
			if !ok && a.Default != nil {
				expanded, err := c.expand(shell.Expander{Escape: c.file.Escape}, *a.Default, args)
				if err != nil {
					return nil, nil, syntax.At(err, arg.Ranges)
				}
				value, ok, from = expanded.Text, true, expanded.Used
			}
			c.inputs.define(a, value, arg.Ranges, from)
			if ok {
				args.set(a.Name, value)
			}
			declared = append(declared, a.Name)
		}
	}
	return args, declared, nil
}

// checkDefaults warns about bases that are no image names unless build
// arguments are given.
func (c *conversion) checkDefaults() {
	args, _, err := c.globalArgs(nil)
	if err != nil {
		return // the build itself fails on the same, or is given a value
	}
	for _, source := range c.file.Stages {
		expanded, err := c.expand(shell.Expander{Escape: c.file.Escape}, source.Base, args)
		if err != nil {
			return
		}
		if _, err := reference.ParseNormalizedNamed(expanded.Text); err != nil {
			c.opt.Linter.DefaultBase(source)
		}
	}
}

// declare makes a stage of every FROM.
func (c *conversion) declare(ctx context.Context) error {
	for i, source := range c.file.Stages {
		if err := c.declareOne(ctx, i, source); err != nil {
			return err
		}
	}
	return nil
}

// declareOne makes a stage. A named context of its name replaces it as a whole:
// then neither base nor instructions count, and its steps are not numbered.
func (c *conversion) declareOne(ctx context.Context, index int, source *instruction.Stage) error {
	s := &stage{source: source, label: source.Name, reads: &pathSet{}}
	used := map[string]struct{}{}
	if err := c.declareBase(s, used); err != nil {
		return err
	}
	if err := c.declarePlatform(s, used); err != nil {
		return err
	}
	for _, i := range source.Instructions {
		s.commands = append(s.commands, command{Instruction: i})
	}
	if source.Name != "" {
		found, err := c.namedContext(ctx, source.Name, s.platform)
		if err != nil {
			return err
		}
		if found != nil {
			s.context = found
			c.addStage(s)
			s.base = nil
			return nil
		}
	} else {
		s.label = "stage-" + strconv.Itoa(index)
	}
	c.addStage(s)
	s.inputs.use(used)
	s.total = countSteps(s)
	s.ignoreCache = c.opt.NoCache != nil && c.opt.NoCache(source.Name)
	return nil
}

// declareBase expands the base's name and adds the arguments in it to used.
func (c *conversion) declareBase(s *stage, used map[string]struct{}) error {
	source := s.source
	expanded, err := c.expand(shell.Expander{Escape: c.file.Escape}, source.Base, c.args)
	c.undeclared(source, expanded)
	if err == nil && expanded.Text == "" {
		err = fmt.Errorf("base name (%s) should not be blank", source.Base)
	}
	s.baseName = expanded.Text
	maps.Copy(used, expanded.Used)
	return syntax.At(err, source.Ranges)
}

// declarePlatform reads FROM's platform flag.
func (c *conversion) declarePlatform(s *stage, used map[string]struct{}) error {
	source := s.source
	if source.Platform == "" {
		return nil
	}
	expanded, err := c.expand(shell.Expander{Escape: c.file.Escape}, source.Platform, c.args)
	c.undeclared(source, expanded)
	target, _ := c.args.Get("TARGETPLATFORM")
	if err != nil {
		return syntax.At(fmt.Errorf("failed to process arguments for platform %s: %w", expanded.Text, err), source.Ranges)
	}
	c.opt.Linter.Platform(source, expanded, target)
	if expanded.Text == "" {
		err := fmt.Errorf("empty platform value from expression %s", source.Platform)
		return syntax.At(suggestAny(err, expanded.Undefined, c.args.Names()), source.Ranges)
	}
	platform, err := platforms.Parse(expanded.Text)
	if err != nil {
		err = suggestAny(err, expanded.Undefined, c.args.Names())
		return syntax.At(fmt.Errorf("failed to parse platform %s: %w", source.Platform, err), source.Ranges)
	}
	s.platform = &platform
	maps.Copy(used, expanded.Used)
	return nil
}

// suggestAny proposes a known name for the first of names that is close to one.
func suggestAny(err error, names map[string]struct{}, known []string) error {
	for name := range names {
		if better := suggest.Error(err, name, known); better != err { //nolint:errorlint // identity is what tells
			return better
		}
	}
	return err
}

// undeclared warns about names in FROM that are neither predefined nor declared
// above the first FROM.
func (c *conversion) undeclared(source *instruction.Stage, expanded shell.Result) {
	if len(expanded.Undefined) > 0 {
		c.opt.Linter.FromArgs(source, expanded, slices.Concat(c.declared, c.args.Names()))
	}
}

// addStage files a stage under its name and finds the stage it starts from.
func (c *conversion) addStage(s *stage) {
	c.stages = append(c.stages, s)
	s.listed = true
	s.inputs = newInputs(c.inputs)
	if base, ok := c.byName[s.baseName]; ok {
		s.base = base
	}
	if s.source.Name != "" {
		c.byName[s.source.Name] = s
	}
}

// find looks a stage up by name, whatever the case.
func (c *conversion) find(name string) (*stage, bool) {
	s, ok := c.byName[strings.ToLower(name)]
	return s, ok
}

// names lists the stages that have one.
func (c *conversion) names() []string {
	var names []string
	for _, s := range c.stages {
		if s.label != "" {
			names = append(names, s.label)
		}
	}
	return names
}

// pickTarget finds the stage to build.
func (c *conversion) pickTarget() (*stage, error) {
	if c.opt.Target == "" {
		return c.stages[len(c.stages)-1], nil
	}
	s, ok := c.find(c.opt.Target)
	if !ok {
		return nil, suggest.Error(fmt.Errorf("target stage %q could not be found", c.opt.Target), c.opt.Target, c.names())
	}
	return s, nil
}

// countSteps counts the steps that a stage's log numbers.
func countSteps(s *stage) int {
	total := 0
	if s.baseName != scratch && s.base == nil {
		total++
	}
	for _, command := range s.commands {
		switch command.Instruction.(type) {
		case *instruction.Add, *instruction.Copy, *instruction.Run, *instruction.Workdir:
			total++
		}
	}
	return total
}

// namedContext looks for a context of a stage's or image's name. Two names are
// not to be replaced.
func (c *conversion) namedContext(ctx context.Context, name string, platform *ocispecs.Platform) (Context, error) {
	if strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return nil, nil
	}
	if platform == nil {
		platform = &c.target
	}
	return c.resolver.Context(ctx, name, *platform)
}

// errNoStages is the failure of a file of ARGs alone.
var errNoStages = errors.New("dockerfile contains no stages to build")
