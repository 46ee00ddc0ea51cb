package scan

import (
	"context"
	"fmt"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/sbom"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// Options of requests that say how steps are run.
const (
	optNoCache     = "no-cache"
	optResolveMode = "image-resolve-mode"
)

// Attester implements build.Attester. The zero value is ready to use.
type Attester struct{}

var _ build.Attester = Attester{}

// Check refuses bad options.
func (Attester) Check(req *build.Request) error {
	_, err := sbom.Requested(req.Opts)
	return err
}

// Attest adds a bill of materials for every platform. Scans run when their
// results are held for exports.
func (Attester) Attest(ctx context.Context, b *build.Built) error {
	o, err := sbom.Requested(b.Request.Opts)
	if err != nil || o == nil || sbom.Described(b.Result) {
		return err
	}
	native := b.Bridge.Info().Workers[0].Platforms[0]
	scanner, err := sbom.Open(ctx, b.Bridge, *o, native, b.Request.Opts[optResolveMode])
	if err != nil {
		return err
	}
	for _, p := range b.Platforms {
		ref := b.Ref(p.ID)
		if ref == nil {
			continue
		}
		described, err := describe(ctx, b, scanner, p, ref)
		if err != nil {
			return err
		}
		if b.Result.Attestations == nil {
			b.Result.Attestations = map[string][]frontend.Attestation{}
		}
		b.Result.Attestations[p.ID] = append(b.Result.Attestations[p.ID], sbom.Attestation(described))
	}
	return nil
}

// describe has the scanner look at one platform's result.
func describe(ctx context.Context, b *build.Built, scanner *sbom.Scanner, p export.Platform, ref frontend.Ref) (frontend.Ref, error) {
	def, err := ref.Definition(ctx)
	if err != nil {
		return nil, err
	}
	core, err := compose.Import(ctx, def)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", p.ID, err)
	}
	none, set := b.Request.Opts[optNoCache]
	def, err = compose.Marshal(scanner.Scan(sbom.Target{Name: p.ID, Core: core, IgnoreCache: set && none == ""}), compose.Options{Platform: p.Platform})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", p.ID, err)
	}
	res, err := b.Bridge.Solve(ctx, frontend.SolveRequest{Definition: def})
	if err != nil {
		return nil, err
	}
	return res.Ref, nil
}
