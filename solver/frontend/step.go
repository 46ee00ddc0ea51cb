package frontend

import (
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// StepError is the failure of a step into which a client may look: what it read
// and what it had half changed is kept until the build ends.
type StepError struct {
	// Op is the step; Description what the client said about it.
	Op          *pb.Op
	Description map[string]string
	// Inputs and Mounts are as in solver.Failure; nil entries are the empty
	// file system. Both are empty if nothing was kept.
	Inputs, Mounts []Ref
	// Action and Content are as in solver.Failure.
	Action, Content int
	Err             error
}

// Error returns the underlying text.
func (e *StepError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *StepError) Unwrap() error { return e.Err }
