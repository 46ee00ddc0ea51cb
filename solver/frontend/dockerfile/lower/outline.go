package lower

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Outline tells what a target can be given.
type Outline struct {
	// Name and Description are those of the target stage.
	Name, Description string
	// Args, Secrets and Agents by the lines they stand on.
	Args            []OutlineArg
	Secrets, Agents []OutlineInput
}

// OutlineArg is a build argument that matters for the target.
type OutlineArg struct {
	Name, Description string
	// Value it has in this request.
	Value  string
	Ranges []syntax.Range
}

// OutlineInput is a secret or key agent that the target's steps use.
type OutlineInput struct {
	Name     string
	Required bool
	Ranges   []syntax.Range
}

// Describe lowers the target and tells what it can be given.
func Describe(ctx context.Context, file *instruction.File, resolver Resolver, opt Options) (*Outline, error) {
	if len(file.Stages) == 0 {
		return nil, errNoStages
	}
	target, err := newConversion(file, resolver, opt).run(ctx)
	if err != nil {
		return nil, err
	}
	out := &Outline{Name: target.source.Name, Description: target.source.Description}
	out.collect(target)
	return out, nil
}

// inputs are what a stage was seen to use.
type inputs struct {
	// global are the definitions above the first FROM, nil for those
	// themselves.
	global *inputs
	// args are the stage's own definitions, used the names that it uses.
	args    map[string]argInput
	used    map[string]struct{}
	secrets map[string]OutlineInput
	agents  map[string]OutlineInput
}

// argInput is an argument with the arguments that its default is made of.
type argInput struct {
	OutlineArg
	from map[string]struct{}
}

// newInputs makes an empty record.
func newInputs(global *inputs) *inputs {
	return &inputs{
		global: global, args: map[string]argInput{}, used: map[string]struct{}{},
		secrets: map[string]OutlineInput{}, agents: map[string]OutlineInput{},
	}
}

// find is the definition of a name in the stage.
func (in *inputs) find(name string) (argInput, bool) {
	if arg, own := in.args[name]; own || in.global == nil {
		return arg, own
	}
	return in.global.find(name)
}

// define remembers an ARG above the first FROM. One that builds on an earlier
// one of its name needs what that needed.
func (in *inputs) define(a instruction.Argument, value string, ranges []syntax.Range, from map[string]struct{}) {
	if in == nil {
		return // only defaults are looked at
	}
	from = maps.Clone(from)
	if _, again := from[a.Name]; again {
		delete(from, a.Name)
		maps.Copy(from, in.args[a.Name].from)
	}
	in.args[a.Name] = argInput{
		OutlineArg: OutlineArg{Name: a.Name, Description: a.Description, Value: value, Ranges: ranges}, from: from,
	}
}

// declare remembers an ARG of a stage. One that only repeats a global argument
// stays that one.
func (in *inputs) declare(a instruction.Argument, value *string, ranges []syntax.Range, inherited bool) {
	in.used[a.Name] = struct{}{}
	if inherited {
		return
	}
	arg := OutlineArg{Name: a.Name, Description: a.Description, Ranges: ranges}
	if value != nil {
		arg.Value = *value
	}
	in.args[a.Name] = argInput{OutlineArg: arg}
}

// use marks names as used.
func (in *inputs) use(names map[string]struct{}) { maps.Copy(in.used, names) }

// note remembers a secret or agent the first time it is seen.
func note(in map[string]OutlineInput, name string, required bool, ranges []syntax.Range) {
	if _, seen := in[name]; !seen {
		in[name] = OutlineInput{Name: name, Required: required, Ranges: ranges}
	}
}

// closure adds the arguments that used ones are made of.
func (in *inputs) closure() {
	todo := slices.Collect(maps.Keys(in.used))
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		arg, _ := in.find(name)
		for from := range arg.from {
			if _, known := in.used[from]; !known {
				in.used[from] = struct{}{}
				todo = append(todo, from)
			}
		}
	}
}

// collect gathers from a stage and all that it needs; what is nearest to the
// target wins.
func (o *Outline) collect(target *stage) {
	args, secrets, agents := map[string]bool{}, map[string]bool{}, map[string]bool{}
	visited := map[*stage]bool{}
	todo := []*stage{target}
	for len(todo) > 0 {
		s := todo[0]
		todo = todo[1:]
		if s == nil || visited[s] {
			continue
		}
		visited[s] = true
		s.inputs.closure()
		for name := range s.inputs.used {
			if arg, known := s.inputs.find(name); known && !args[name] {
				args[name] = true
				o.Args = append(o.Args, arg.OutlineArg)
			}
		}
		o.Secrets = appendNew(o.Secrets, s.inputs.secrets, secrets)
		o.Agents = appendNew(o.Agents, s.inputs.agents, agents)
		todo = append(todo, s.base)
		for _, u := range s.uses {
			todo = append(todo, u.of)
		}
	}
	slices.SortFunc(o.Args, func(a, b OutlineArg) int {
		return cmp.Or(cmp.Compare(line(a.Ranges), line(b.Ranges)), cmp.Compare(a.Name, b.Name))
	})
	sortInputs(o.Secrets)
	sortInputs(o.Agents)
}

// appendNew adds what was not seen in a nearer stage.
func appendNew(to []OutlineInput, from map[string]OutlineInput, seen map[string]bool) []OutlineInput {
	for name, input := range from {
		if !seen[name] {
			seen[name] = true
			to = append(to, input)
		}
	}
	return to
}

func sortInputs(in []OutlineInput) {
	slices.SortFunc(in, func(a, b OutlineInput) int {
		return cmp.Or(cmp.Compare(line(a.Ranges), line(b.Ranges)), cmp.Compare(a.Name, b.Name))
	})
}

func line(ranges []syntax.Range) int {
	first, _ := syntax.Span(ranges)
	return first
}
