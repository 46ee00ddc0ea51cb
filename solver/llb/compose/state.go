package compose

import (
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// State is one output of one operation. The zero State is scratch.
type State struct {
	node  *node
	index int
	err   error
}

// Scratch returns the empty file system.
func Scratch() State { return State{} }

// Failed returns a State that makes Marshal fail with err, and everything
// built on it too. A nil err yields scratch.
func Failed(err error) State { return State{err: err} }

// IsScratch reports whether the State is the empty file system itself; a
// State that merely turns out empty is not.
func (s State) IsScratch() bool { return s.node == nil && s.err == nil }

// Err returns why the State cannot be made, if it cannot.
func (s State) Err() error { return s.err }

// Platform returns the platform that the State was made for, nil if none was
// said. Operations inherit it from their main input.
func (s State) Platform() *ocispecs.Platform {
	if s.node == nil {
		return nil
	}
	return s.node.info.Platform
}

// node is one operation. Its fields are never changed.
type node struct {
	operation operation
	info      Info
	// inputs are the states that encode asks for, in any order.
	inputs []State
}

// operation is what a node does.
type operation interface {
	// encode writes the operation into e. The inputs have been encoded.
	encode(e *encoding) error
}

// newState makes a node and returns its first output, or the first error
// among the inputs.
func newState(op operation, info Info, inputs ...State) State {
	n := &node{operation: op, info: info}
	for _, input := range inputs {
		if input.err != nil {
			return input
		}
		if input.node != nil {
			n.inputs = append(n.inputs, input)
		}
	}
	return State{node: n}
}

// inherit fills in the platform from the main input.
func (i Info) inherit(main State) Info {
	if i.Platform == nil {
		i.Platform = main.Platform()
	}
	return i
}
