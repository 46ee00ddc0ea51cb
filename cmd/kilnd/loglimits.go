package main

import (
	"strconv"

	"github.com/kilnbuild/kiln/solver/progress"
)

// logLimits are the bounds on the output of steps: the defaults, or what the environment says (-1 for none).
func logLimits(getenv func(string) string) progress.LogLimits {
	limits := progress.DefaultLogLimits()
	if n, err := strconv.ParseInt(getenv("BUILDKIT_STEP_LOG_MAX_SIZE"), 10, 64); err == nil {
		limits.MaxSize = n
	}
	if n, err := strconv.ParseInt(getenv("BUILDKIT_STEP_LOG_MAX_SPEED"), 10, 64); err == nil {
		limits.MaxSpeed = n
	}
	return limits
}
