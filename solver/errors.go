package solver

import (
	"github.com/opencontainers/go-digest"
)

// VertexError says which vertex failed. The graph wraps an op's error in it
// once; errors.As finds it.
type VertexError struct {
	Digest digest.Digest
	// Name of the vertex as shown to people.
	Name string
	// Err is the op's own error.
	Err error
}

// Error returns the op's own text: clients match on it.
func (e *VertexError) Error() string { return e.Err.Error() }

// Unwrap returns the op's error.
func (e *VertexError) Unwrap() error { return e.Err }

// SourceError attaches the place in a text that an error comes from.
type SourceError struct {
	Info   *SourceInfo
	Ranges []Range
	Err    error
}

// Error returns the underlying text; clients print the place themselves.
func (e *SourceError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *SourceError) Unwrap() error { return e.Err }

// ExitError is the failure of a process that ran.
type ExitError struct {
	// Code is the exit code; 255 if unknown.
	Code int
	Err  error
}

// Error returns the underlying text.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *ExitError) Unwrap() error { return e.Err }

// SubrequestError says that a frontend does not know a subrequest. Clients
// fall back on seeing it.
type SubrequestError struct {
	Name string
	Err  error
}

// Error returns the text, by default what clients match.
func (e *SubrequestError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return "unsupported request " + e.Name
}

// Unwrap returns the underlying error, if any.
func (e *SubrequestError) Unwrap() error { return e.Err }

// CapError says that a frontend lacks a capability that a client asked for.
type CapError struct {
	Name string
	Err  error
}

// Error returns the text, by default what clients match.
func (e *CapError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return "unsupported frontend capability " + e.Name
}

// Unwrap returns the underlying error, if any.
func (e *CapError) Unwrap() error { return e.Err }

// FrontendError says in which frontend an error arose.
type FrontendError struct {
	// Name of the frontend; Source is its image, if it has one.
	Name, Source string
	Err          error
}

// Error returns the underlying text.
func (e *FrontendError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *FrontendError) Unwrap() error { return e.Err }

// InspectError says how a failed step can be looked into.
type InspectError struct {
	// Op is the step's op in its wire form; nil if unknown.
	Op []byte
	// Description is what the client said about the step.
	Description map[string]string
	// Inputs and Mounts are the ids under which the file systems of a Failure
	// can be mounted; empty ids are the empty file system.
	Inputs, Mounts []string
	// Action and Content are as in Failure.
	Action, Content int
	Err             error
}

// Error returns the underlying text.
func (e *InspectError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *InspectError) Unwrap() error { return e.Err }
