package dockerfile

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// argEpoch is the build argument with the time to write into images.
const argEpoch = "SOURCE_DATE_EPOCH"

// setEpoch reads the argument, given or the default of a global ARG.
func (r *request) setEpoch(ctx context.Context, file *instruction.File, opt *lower.Options) error {
	text, given := r.opts.buildArgs[argEpoch]
	for _, arg := range file.Args {
		for _, a := range arg.Args {
			if a.Name == argEpoch && !given && a.Default != nil {
				text = *a.Default
			}
		}
	}
	_ = ctx
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("invalid SOURCE_DATE_EPOCH: %s", text)
	}
	epoch := time.Unix(seconds, 0).UTC()
	opt.Epoch = &epoch
	return nil
}

var (
	_ = frontend.MetaEpoch
	_ compose.Info
)
