package sbom

import (
	"fmt"
	"maps"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/solver/frontend"
)

// DefaultGenerator is the scanner of requests that name none.
const DefaultGenerator = "docker/buildkit-syft-scanner:stable-1"

// paramGenerator names the scanner; all other parameters are for it.
const paramGenerator = "generator"

// Options say how to scan.
type Options struct {
	// Generator is the scanner's image in full form, with a tag or a digest.
	Generator string
	// Params are given to the scanner.
	Params map[string]string
}

// Requested reads what a request's options ask for; nil if that is nothing.
// Errors are of kind InvalidArgument.
func Requested(opts map[string]string) (*Options, error) {
	requested, err := frontend.Requested(opts)
	if err != nil {
		return nil, err
	}
	pairs, ok := requested[frontend.AttestSBOM]
	if !ok {
		return nil, nil
	}
	o := &Options{Generator: DefaultGenerator, Params: maps.Clone(pairs)}
	if name, ok := pairs[paramGenerator]; ok {
		if name == "" {
			return nil, fmt.Errorf("sbom generator cannot be empty: %w", errdefs.ErrInvalidArgument)
		}
		o.Generator = name
		delete(o.Params, paramGenerator)
	}
	named, err := reference.ParseNormalizedNamed(o.Generator)
	if err != nil {
		return nil, fmt.Errorf("failed to parse sbom generator %s: %w: %w", o.Generator, err, errdefs.ErrInvalidArgument)
	}
	o.Generator = reference.TagNameOnly(named).String()
	return o, nil
}
