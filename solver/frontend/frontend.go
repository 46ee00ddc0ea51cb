package frontend

import (
	"context"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Frontend turns a request into a result.
type Frontend interface {
	// Solve answers req with graphs made through b. Errors that belong to a
	// place in a text are *solver.SourceError.
	Solve(ctx context.Context, b Bridge, req Request) (*Result, error)
}

// Request is what a client asks of a frontend.
type Request struct {
	// Opts are the frontend options, for example "filename" or "build-arg:X".
	Opts map[string]string
	// Inputs are graphs by name that the client hands in, used as contexts.
	Inputs map[string]*pb.Definition
}

// Func makes a Frontend of a function.
type Func func(ctx context.Context, b Bridge, req Request) (*Result, error)

// Solve calls f.
func (f Func) Solve(ctx context.Context, b Bridge, req Request) (*Result, error) {
	return f(ctx, b, req)
}
