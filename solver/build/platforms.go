package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
)

// optPlatform is the option of frontends that lists the platforms to build for.
const optPlatform = "platform"

// platformAdvice compares the platforms that the client asked for with those of
// the result. A mismatch is no error: what a frontend makes of the option is
// its own business, but whoever pushes the result should know. The texts are
// those that clients know.
func (b *Built) platformAdvice() []solver.WarningEvent {
	if b.Result.Ref == nil && len(b.Result.Refs) == 0 {
		return nil // an answer to a question, no file system
	}
	asked := []string{platforms.Format(platforms.Normalize(platforms.DefaultSpec()))}
	if v, ok := b.Request.Opts[optPlatform]; ok {
		asked = strings.Split(v, ",")
	}
	var out []solver.WarningEvent
	warn := func(format string, args ...any) {
		out = append(out, solver.WarningEvent{Short: fmt.Appendf(nil, format, args...)})
	}
	var want []ocispecs.Platform
	for _, s := range asked {
		p, err := platforms.Parse(s)
		if err != nil {
			warn("Invalid platform result requested %q: %s", s, err)
			continue
		}
		if p = platforms.Normalize(p); slices.ContainsFunc(want, func(o ocispecs.Platform) bool { return platforms.FormatAll(o) == platforms.FormatAll(p) }) {
			warn("Duplicate platform result requested %q", s)
		}
		want = append(want, p)
	}
	if len(out) > 0 {
		return out
	}
	var got []ocispecs.Platform
	for _, p := range b.Platforms {
		got = append(got, platforms.Normalize(p.Platform))
	}
	switch {
	case len(want) == 1 && len(got) == 1:
		if want[0].OSVersion == "" {
			got[0].OSVersion = "" // a request seldom names one, images of Windows do
		}
		if platforms.FormatAll(want[0]) != platforms.FormatAll(got[0]) {
			warn("Requested platform %q does not match result platform %q", asked[0], platforms.FormatAll(got[0]))
		}
	case len(want) > 1 && b.Result.Refs == nil:
		warn("Multiple platforms requested but result is not multi-platform")
	case formatAll(want) != formatAll(got):
		warn("Requested platforms %s do not match result platforms %s", formatAll(want), formatAll(got))
	}
	return out
}

// formatAll lists platforms in order of their names.
func formatAll(list []ocispecs.Platform) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = platforms.FormatAll(p)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
