package dockerfile

import (
	"context"
	"fmt"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/sbom"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// scanner looks up what describes the results; nil if nobody asks for that.
// It runs where no emulation is needed.
func (r *request) scanner(ctx context.Context) (*sbom.Scanner, error) {
	if r.opts.sbom == nil {
		return nil, nil
	}
	return sbom.Open(ctx, r.bridge, *r.opts.sbom, r.opts.native[0], r.opts.resolveMode)
}

// scan has one platform's result described, with the stages and the context
// that the file wants to be described too. Like the result, the description is
// made when somebody wants it.
func (r *request) scan(ctx context.Context, scanner *sbom.Scanner, id string, b *built, out *collector) error {
	if scanner == nil {
		return nil
	}
	state := scanner.Scan(sbom.Target{Name: id, Core: b.Graph, Extras: b.Extras, IgnoreCache: b.IgnoreCache})
	// The target is written as it was for the result itself, so that the two
	// are one.
	options := r.marshalOptions()
	options.Platform = b.Platform
	def, err := compose.Marshal(state, options)
	if err != nil {
		return fmt.Errorf("failed to marshal LLB definition: %w", err)
	}
	result, err := r.bridge.Solve(ctx, frontend.SolveRequest{Definition: def})
	if err != nil {
		return err
	}
	out.attest(id, sbom.Attestation(result.Ref))
	return nil
}

// attest adds what is said about one platform's result.
func (c *collector) attest(id string, a frontend.Attestation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.result.Attestations == nil {
		c.result.Attestations = map[string][]frontend.Attestation{}
	}
	c.result.Attestations[id] = append(c.result.Attestations[id], a)
}
