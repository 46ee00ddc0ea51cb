package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// argSyntax overrides the file's syntax directive.
const argSyntax = "build-arg:BUILDKIT_SYNTAX"

// otherImage is the frontend image that a file or a client asks for.
type otherImage struct {
	// commandLine is the image and what follows it; line is where the file says
	// so, 0 if the client does.
	commandLine string
	line        int
}

// otherFrontend tells whether the file is for another frontend. One that was
// handed over stays.
func (r *request) otherFrontend() (otherImage, bool) {
	if _, handedOver := r.opts.raw[optCommandLine]; handedOver {
		return otherImage{}, false
	}
	if commandLine, ok := r.opts.raw[argSyntax]; ok {
		return otherImage{commandLine: commandLine}, true
	}
	found, ok := syntax.DetectSyntax(r.text.Data)
	return otherImage{commandLine: found.Value, line: found.Line}, ok
}

// forward hands the request to another frontend.
func (r *request) forward(ctx context.Context, image otherImage) (*frontend.Result, error) {
	opts := map[string]string{}
	maps.Copy(opts, r.opts.raw)
	opts[optCommandLine] = image.commandLine
	opts[optSource], _, _ = strings.Cut(strings.TrimSpace(image.commandLine), " ")
	result, err := r.bridge.Solve(ctx, frontend.SolveRequest{Frontend: "gateway.v0", Opts: opts, Inputs: r.inputs})
	var placed *solver.SourceError
	if err == nil || errors.As(err, &placed) {
		return result, err
	}
	if image.line == 0 {
		return nil, fmt.Errorf("failed with %s = %s: %w", argSyntax, image.commandLine, err)
	}
	return nil, &solver.SourceError{Info: r.text, Ranges: lower.Ranges(syntax.Lines(image.line, image.line)), Err: err}
}
