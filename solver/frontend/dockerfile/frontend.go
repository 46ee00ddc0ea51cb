package dockerfile

import (
	"context"
	"errors"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lint"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Frontend implements frontend.Frontend. The zero value is ready to use.
type Frontend struct{}

// New returns the Dockerfile frontend.
func New() *Frontend { return &Frontend{} }

// Solve implements frontend.Frontend.
func (*Frontend) Solve(ctx context.Context, b frontend.Bridge, req frontend.Request) (*frontend.Result, error) {
	later, missing := checkCapabilities(req.Opts[optCaps])
	if missing != nil && !later {
		return nil, missing
	}
	opts, err := readOptions(req.Opts, b.Info())
	if err != nil {
		return nil, err
	}
	r := &request{bridge: b, inputs: req.Inputs, opts: opts, info: b.Info()}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if image, found := r.otherFrontend(); found {
		return r.forward(ctx, image)
	}
	if missing != nil {
		return nil, missing
	}
	if name, ok := req.Opts[optRequest]; ok {
		return r.subrequest(ctx, name)
	}
	result, err := r.build(ctx)
	return result, r.located(err)
}

// located attaches the file and lines that an error carries. With several
// places, the last one is outermost.
func (r *request) located(err error) error {
	for _, ranges := range syntax.Places(err) {
		err = &solver.SourceError{Info: r.text, Ranges: lower.Ranges(ranges), Err: err}
	}
	return err
}

// parse reads the file once for all platforms and runs the rules on its shape.
func (r *request) parse(linter *lint.Linter) (*instruction.File, error) {
	if len(r.text.Data) == 0 {
		return nil, errors.New("the Dockerfile cannot be empty")
	}
	source, err := syntax.Parse(r.text.Data)
	if err != nil {
		return nil, err
	}
	file, err := instruction.Parse(source)
	linter.Parsed(file)
	if err != nil {
		return nil, err
	}
	if len(file.Stages) == 0 {
		return nil, errors.New("dockerfile contains no stages to build")
	}
	linter.Whole(file)
	return file, nil
}

// lintConfig is the configuration of the rules: the request's, or else the
// file's.
func (r *request) lintConfig() (lint.Config, error) {
	if r.opts.lint != nil {
		return *r.opts.lint, nil
	}
	return lint.FileConfig(r.text.Data)
}
