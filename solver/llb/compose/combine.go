package compose

import (
	"errors"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Merge stacks file systems, later ones over earlier ones, without copying.
// Scratch adds nothing and is left out; one that remains is returned as it is.
func Merge(inputs []State, info Info) State {
	var rest []State
	for _, input := range inputs {
		if !input.IsScratch() {
			rest = append(rest, input)
		}
	}
	switch len(rest) {
	case 0:
		return Scratch()
	case 1:
		return rest[0]
	}
	return newState(mergeOp(rest), info.inherit(rest[0]), rest...)
}

type mergeOp []State

func (m mergeOp) encode(e *encoding) error {
	e.need("mergeop")
	op := &pb.MergeOp{}
	for _, input := range m {
		op.Inputs = append(op.Inputs, &pb.MergeInput{Input: e.input(input)})
	}
	e.op.Op = &pb.Op_Merge{Merge: op}
	return nil
}

// Diff is what must be stacked on lower to get upper. Over scratch that is
// upper itself.
func Diff(lower, upper State, info Info) State {
	switch {
	case lower.err != nil:
		return lower
	case lower.IsScratch():
		return upper
	}
	return newState(diffOp{lower, upper}, info.inherit(upper), lower, upper)
}

type diffOp struct{ lower, upper State }

func (d diffOp) encode(e *encoding) error {
	e.need("diffop")
	e.op.Op = &pb.Op_Diff{Diff: &pb.DiffOp{
		Lower: &pb.LowerDiffInput{Input: e.input(d.lower)},
		Upper: &pb.UpperDiffInput{Input: e.input(d.upper)},
	}}
	return nil
}

// Passthrough hands states on unchanged, through a vertex that has a name and
// ends when all of them are there. The states that come out correspond to
// those that go in; scratch stays outside.
func Passthrough(id string, inputs []State, info Info) []State {
	out := make([]State, len(inputs))
	var rest []State
	for i, input := range inputs {
		if !input.IsScratch() {
			rest = append(rest, input)
		}
		out[i] = input
	}
	if len(rest) == 0 {
		return out
	}
	base := newState(&passthroughOp{id: id, inputs: rest}, info.inherit(rest[0]), rest...)
	if id == "" {
		base = Failed(errors.New("passthrough without an id"))
	}
	index := 0
	for i, input := range inputs {
		if input.IsScratch() {
			continue
		}
		out[i] = State{node: base.node, index: index, err: base.err}
		index++
	}
	return out
}

type passthroughOp struct {
	id     string
	inputs []State
}

func (p *passthroughOp) encode(e *encoding) error {
	e.need("passthroughop")
	op := &pb.PassthroughOp{Id: p.id}
	for _, input := range p.inputs {
		op.Outputs = append(op.Outputs, e.input(input))
	}
	e.op.Op = &pb.Op_Passthrough{Passthrough: op}
	return nil
}

// definitionInput is the key under which a build operation gets its graph.
const definitionInput = "buildkit.llb.definition"

// Build solves the graph in a file of from; filename may be empty for the
// builder's default.
func Build(from State, filename string, info Info) State {
	if from.IsScratch() {
		return Failed(errors.New("build from scratch: there is no file to read a graph from"))
	}
	return newState(&buildOp{from: from, filename: filename}, info.inherit(from), from)
}

type buildOp struct {
	from     State
	filename string
}

func (b *buildOp) encode(e *encoding) error {
	op := &pb.BuildOp{
		Builder: scratchIndex,
		Inputs:  map[string]*pb.BuildInput{definitionInput: {Input: e.input(b.from)}},
	}
	if b.filename != "" {
		e.need("source.buildop.llbfilename")
		op.Attrs = map[string]string{"llbbuild.filename": b.filename}
	}
	e.op.Op = &pb.Op_Build{Build: op}
	return nil
}
