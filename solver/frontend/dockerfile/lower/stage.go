package lower

import (
	"maps"
	"slices"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// scratch is the name of the empty base.
const scratch = "scratch"

// stage is a FROM of the file, or an image or context that a COPY or a mount
// takes files from (then it is foreign).
type stage struct {
	// source is the declaration; a foreign stage has an empty one that holds
	// where it is used.
	source *instruction.Stage
	// label is the name in step names: the stage's own, stage-N, or nothing in
	// a file with one stage.
	label string
	// baseName is the expanded base.
	baseName string
	// context replaces the stage, if there is a named context of its name.
	context Context
	foreign bool

	// base is the stage it starts from; nil for images, contexts and nothing.
	base *stage
	// uses are the stages that COPY and mounts read, in order.
	uses     []use
	commands []command

	state  // what lowering has come to
	inputs *inputs

	// image is the configuration so far, baseImage that of the base image as it
	// was.
	image, baseImage *imageConfig
	platform         *ocispecs.Platform
	args             []declaredArg
	// argNames are the names in args.
	argNames map[string]struct{}
	// reads are the paths of the base context that are needed, if it is a
	// context.
	reads *pathSet

	// How far the stage has come: in the list of stages, its base known, its
	// base's triggers added, all steps made.
	listed, resolved, triggered, lowered bool
	// workdirSet tells that the file set an absolute working directory.
	workdirSet  bool
	ignoreCache bool

	// steps counts the steps that were named, total those there will be.
	steps, total int

	// seen are the places of instructions of which only the last counts.
	seen struct{ cmd, entrypoint, healthcheck []syntax.Range }
}

// state is what one instruction hands to the next.
type state struct {
	files *node
	env   *environ
	dir   string
	user  string
}

// use is a stage that another reads from, and the instruction that does.
type use struct {
	of *stage
	by *instruction.Meta
}

// command is an instruction of a stage with the stages it reads from, one for
// each mount of a RUN.
type command struct {
	instruction.Instruction
	from    []*stage
	onbuild bool
}

// declaredArg is an ARG of a stage; its value is nil if it has none.
type declaredArg struct {
	name  string
	value *string
}

// inherit takes over what a base stage has become.
func (s *stage) inherit() {
	if s.base == nil {
		return
	}
	s.state = s.base.state
	s.env = s.base.env.clone()
	s.platform = s.base.platform
	s.image = cloneImage(s.base.image)
	s.image.Config.OnBuild = nil // triggers fire once
	s.baseImage = cloneImage(s.base.baseImage)
	s.reads = s.base.reads
	s.workdirSet = s.base.workdirSet
	s.args = slices.Concat(s.args, s.base.args)
	s.argNames = maps.Clone(s.base.argNames)
}

// system is the operating system that paths of the stage are written for.
func (s *stage) system() string {
	if s.platform == nil || s.platform.OS == "" {
		return "linux"
	}
	return s.platform.OS
}

// workdir is the directory that relative paths start from.
func (s *stage) workdir() string {
	if s.dir == "" {
		return "/"
	}
	return s.dir
}
