package build

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// plan is what a build will go through, in the order of the Dockerfile. The
// zero value knows nothing: then steps are shown as they come.
type plan struct {
	steps []*step
	// args are the names of all arguments that are declared.
	args map[string]bool
	// lost says that no stage has the name that was asked for.
	lost bool
}

// step is one instruction.
type step struct {
	// text is the instruction as written.
	text string
	// stage is the name of the stage in step names, number the number there; 0
	// for instructions that only change the configuration.
	stage  string
	number int
	// total is how many numbers the stage has; more if a base image adds some.
	total int
	// command is what a RUN starts; empty for others.
	command string
}

// readPlan reads a Dockerfile. target is the stage to build, by name or number;
// empty for the last. A file that cannot be read has no plan: the frontend says
// what is wrong with it.
func readPlan(data []byte, target string) *plan {
	p := &plan{args: map[string]bool{}}
	source, err := syntax.Parse(data)
	if err != nil {
		return p
	}
	file, err := instruction.Parse(source)
	if err != nil {
		return p
	}
	p.declare(file)
	p.lost = target != "" && !slices.ContainsFunc(file.Stages, func(s *instruction.Stage) bool { return strings.EqualFold(s.Name, target) })
	last := findStage(file.Stages, target)
	if last < 0 {
		last = len(file.Stages) - 1
	}
	needed := neededStages(file.Stages, last)
	for i, stage := range file.Stages {
		if needed[i] {
			p.add(file.Stages, i, stage)
		}
	}
	return p
}

// declare notes the arguments of all stages.
func (p *plan) declare(file *instruction.File) {
	note := func(a *instruction.Arg) {
		for _, one := range a.Args {
			p.args[one.Name] = true
		}
	}
	for _, a := range file.Args {
		note(a)
	}
	for _, stage := range file.Stages {
		for _, current := range stage.Instructions {
			if a, ok := current.(*instruction.Arg); ok {
				note(a)
			}
		}
	}
}

// findStage finds a stage by name or number; -1 if there is none.
func findStage(stages []*instruction.Stage, name string) int {
	if i := slices.IndexFunc(stages, func(s *instruction.Stage) bool { return name != "" && strings.EqualFold(s.Name, name) }); i >= 0 {
		return i
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(stages) {
		return i
	}
	return -1
}

// neededStages tells which stages the last one is made of. Stages refer to
// earlier ones only.
func neededStages(stages []*instruction.Stage, last int) []bool {
	needed := make([]bool, len(stages))
	if last < 0 {
		return needed
	}
	needed[last] = true
	for i := last; i >= 0; i-- {
		if !needed[i] {
			continue
		}
		for _, name := range uses(stages[i]) {
			if n := findStage(stages[:i], name); n >= 0 {
				needed[n] = true
			}
		}
	}
	return needed
}

// uses returns the names that a stage takes files from.
func uses(stage *instruction.Stage) []string {
	out := []string{stage.Base}
	for _, current := range stage.Instructions {
		switch c := current.(type) {
		case *instruction.Copy:
			out = append(out, c.From)
		case *instruction.Run:
			for _, m := range c.Mounts {
				out = append(out, m.From)
			}
		}
	}
	return out
}

// add adds the instructions of a stage.
func (p *plan) add(stages []*instruction.Stage, i int, stage *instruction.Stage) {
	name := stage.Name
	switch {
	case name != "":
	case len(stages) > 1:
		name = "stage-" + strconv.Itoa(i)
	}
	first, number, uncounted := len(p.steps), 0, 0
	from := &step{text: stage.Text, stage: name}
	// Nothing and other stages are not fetched: they have no number.
	if stage.Base != "scratch" && findStage(stages[:i], stage.Base) < 0 {
		number++
		from.number = number
	}
	p.steps = append(p.steps, from)
	shell, dir := []string{"/bin/sh", "-c"}, ""
	for _, current := range stage.Instructions {
		s := &step{text: current.About().Text, stage: name}
		switch c := current.(type) {
		case *instruction.Run:
			s.command = strings.Join(c.Args, " ")
			if c.Shell {
				s.command = strings.Join(append(slices.Clone(shell), c.Args...), " ")
			}
			number++
			s.number = number
		case *instruction.Workdir:
			// The root is there already: no step makes it, though it counts.
			if dir = enter(dir, c.Path); dir == "/" {
				uncounted++
				break
			}
			number++
			s.number = number
		case *instruction.Add, *instruction.Copy:
			number++
			s.number = number
		case *instruction.Shell:
			shell = c.Shell
		}
		p.steps = append(p.steps, s)
	}
	for _, s := range p.steps[first:] {
		s.total = number + uncounted
	}
}

// enter is the directory after a change to another one; "" if that is not known,
// which it is not for variables and what starts at the base image's directory.
func enter(dir, to string) string {
	switch {
	case strings.ContainsAny(to, "$\\"):
		return ""
	case strings.HasPrefix(to, "/"):
		return path.Clean(to)
	case dir == "":
		return ""
	}
	return path.Join(dir, to)
}

// freeArgs can be given without being declared.
var freeArgs = []string{
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
	"SOURCE_DATE_EPOCH",
}

// unused returns which of the arguments given nothing declares, in order.
func (p *plan) unused(given []string) []string {
	if len(p.steps) == 0 {
		return nil
	}
	var out []string
	for _, name := range given {
		if !p.args[name] && !slices.Contains(freeArgs, name) && !strings.HasPrefix(name, "BUILDKIT_") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
