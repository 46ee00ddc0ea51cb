package build

import (
	"context"
	"strings"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// gitScheme begins identifiers of repositories; attrOpenModes asks their source
// for the modes that checkouts once had.
const (
	gitScheme     = "git://"
	attrOpenModes = "git.openmodes"
)

// aged returns rewrite, which may be nil, with what sources of older versions
// of behaviour did otherwise.
func (j *job) aged(rewrite func(context.Context, *pb.SourceOp, *pb.Platform) error) func(context.Context, *pb.SourceOp, *pb.Platform) error {
	if j.request.CompatibilityVersion != solver.Compatibility10 {
		return rewrite
	}
	return func(ctx context.Context, op *pb.SourceOp, platform *pb.Platform) error {
		if rewrite != nil {
			if err := rewrite(ctx, op, platform); err != nil {
				return err
			}
		}
		if strings.HasPrefix(op.GetIdentifier(), gitScheme) {
			if op.Attrs == nil {
				op.Attrs = map[string]string{}
			}
			op.Attrs[attrOpenModes] = "true"
		}
		return nil
	}
}
