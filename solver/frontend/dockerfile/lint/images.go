package lint

import (
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
)

// DefaultBase reports a FROM whose base is no image name when no build argument
// is given.
func (l *Linter) DefaultBase(stage *instruction.Stage) {
	l.warn(InvalidDefaultArgInFrom, stage.Ranges, "Default value for ARG %v results in empty or invalid base image name", stage.Base)
}

// FromArgs reports variables in FROM that are not among the known arguments.
func (l *Linter) FromArgs(stage *instruction.Stage, expanded shell.Result, known []string) {
	declared := make(map[string]bool, len(known))
	for _, name := range known {
		declared[name] = true
	}
	l = l.For(stage.Comments)
	for _, name := range sorted(expanded.Undefined) {
		if declared[name] || !l.applies(UndefinedArgInFrom) {
			continue
		}
		hint := ""
		if match := suggest.Nearest(name, known); match != "" {
			hint = " (did you mean " + match + "?)"
		}
		l.warn(UndefinedArgInFrom, stage.Ranges, "FROM argument '%s' is not declared%s", name, hint)
	}
}

// Platform checks FROM's platform flag, given its expansion and the platform
// that the build is for.
func (l *Linter) Platform(stage *instruction.Stage, expanded shell.Result, target string) {
	l = l.For(stage.Comments)
	if len(expanded.Undefined) == 0 && len(expanded.Used) == 1 {
		if _, ok := expanded.Used["TARGETPLATFORM"]; ok && expanded.Text == target {
			l.warn(RedundantTargetPlatform, stage.Ranges,
				"Setting platform to predefined %s in FROM is redundant as this is the default behavior", stage.Platform)
		}
	}
	if len(expanded.Undefined)+len(expanded.Used) > 0 {
		return
	}
	platform, err := platforms.Parse(expanded.Text)
	if err != nil || strings.Contains(stage.Name, platform.OS) || strings.Contains(stage.Name, platform.Architecture) {
		return // a bad platform fails the build by itself; a name that says the platform is a decision
	}
	l.warn(FromPlatformFlagConstDisallowed, stage.Ranges, "FROM --platform flag should not use constant value %q", expanded.Text)
}

// BasePlatform reports a base image of another platform than expected.
func (l *Linter) BasePlatform(about *instruction.Meta, base string, expected, actual ocispecs.Platform) {
	if expected.OS == actual.OS && expected.Architecture == actual.Architecture {
		return
	}
	l.warn(InvalidBaseImagePlatform, about.Ranges, "Base image %s was pulled with platform %q, expected %q for current build",
		base, platforms.FormatAll(platforms.Normalize(actual)), platforms.FormatAll(platforms.Normalize(expected)))
}
