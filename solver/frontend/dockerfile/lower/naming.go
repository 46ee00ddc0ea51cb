package lower

import (
	"fmt"
	"math"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
)

// stepName puts stage and number in front of a step's text and counts the step,
// as in `[build 2/5] RUN make`.
func (c *conversion) stepName(s *stage, text string, platform *ocispecs.Platform, env shell.Env) string {
	if s.total == 0 {
		return text
	}
	s.steps++
	return c.stepPrefix(s, platform, env) + text
}

// stepPrefix is the part in brackets for the current step.
func (c *conversion) stepPrefix(s *stage, platform *ocispecs.Platform, env shell.Env) string {
	var out strings.Builder
	out.WriteByte('[')
	if c.opt.MultiPlatform && platform != nil {
		out.WriteString(platforms.FormatAll(*platform) + crossTarget(*platform, env) + " ")
	}
	if s.label != "" {
		out.WriteString(s.label + " ")
	}
	width := 1 + int(math.Log10(float64(s.total)))
	fmt.Fprintf(&out, "%*d/%d] ", width, s.steps, s.total)
	return out.String()
}

// crossTarget shows the platform that a cross-compiling stage makes things for,
// as in `->arm64`.
func crossTarget(base ocispecs.Platform, env shell.Env) string {
	target, ok := targetOf(env)
	if !ok {
		return ""
	}
	if target.OS == "" {
		target.OS = base.OS
	}
	if target.Architecture == "" {
		target.Architecture = base.Architecture
	}
	target = platforms.Normalize(target)
	switch {
	case target.OS != base.OS:
		return "->" + platforms.FormatAll(target)
	case target.Architecture == base.Architecture:
		return ""
	case target.Variant != "":
		return "->" + target.Architecture + "/" + target.Variant
	}
	return "->" + target.Architecture
}

// targetOf reads the target platform from the arguments that a stage declared.
func targetOf(env shell.Env) (target ocispecs.Platform, ok bool) {
	if text, set := env.Get("TARGETPLATFORM"); set {
		if parsed, err := platforms.Parse(text); err == nil {
			return parsed, true
		}
	}
	for _, field := range []struct {
		name string
		to   *string
	}{{"TARGETOS", &target.OS}, {"TARGETARCH", &target.Architecture}, {"TARGETVARIANT", &target.Variant}} {
		if value, set := env.Get(field.name); set {
			*field.to, ok = value, true
		}
	}
	return target, ok
}

// maxName bounds a step's name, which is a copy of the instruction with its
// variables replaced.
const maxName = 64 << 10

// shown is an instruction's text for people: the keyword in upper case,
// variables replaced. Text that cannot be expanded is shown as it is.
func (c *conversion) shown(x shell.Expander, text string, env shell.Env) string {
	x.Escape = c.file.Escape
	if result, err := x.Expand(text, env); err == nil && len(result.Text) <= maxName {
		text = result.Text
		c.budget.left -= len(text) // whoever records the step finds out
	}
	keyword, rest, found := strings.Cut(text, " ")
	if !found {
		return strings.ToUpper(text)
	}
	return strings.ToUpper(keyword) + " " + rest
}
