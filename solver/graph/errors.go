package graph

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/kilnbuild/kiln/solver"
)

var (
	// ErrJobClosed is returned by calls on a job after Close, and by those
	// that Close interrupts.
	ErrJobClosed = fmt.Errorf("the build is closed: %w", context.Canceled)
	// ErrJobExists is wrapped by NewJob's error for an id that is in use.
	ErrJobExists = errors.New("job exists")
	// ErrCycle is wrapped by Build's error for a graph that is none.
	ErrCycle = errors.New("the build graph has a cycle")
)

// PanicError is a panic of an op, turned into the failure of its vertex.
type PanicError struct {
	Value any
	// Stack is the goroutine's stack as runtime/debug prints it.
	Stack []byte
}

func newPanicError(value any) *PanicError {
	return &PanicError{Value: value, Stack: debug.Stack()}
}

// Error leaves out the stack, which is for the daemon's log, not for clients.
func (e *PanicError) Error() string { return fmt.Sprintf("internal error: panic: %v", e.Value) }

// isCancellation tells errors that only say that somebody stopped waiting.
func isCancellation(err error) bool { return errors.Is(err, context.Canceled) }

// vertexError names the vertex whose own error err is, once.
func vertexError(v *solver.Vertex, err error) error {
	var known *solver.VertexError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &solver.VertexError{Digest: v.Digest, Name: v.Name, Err: err}
}
