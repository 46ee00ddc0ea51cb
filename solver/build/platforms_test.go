package build

import (
	"context"
	"testing"

	"github.com/containerd/platforms"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
)

// nothing is a result without content.
type nothing struct{ frontend.Ref }

func (nothing) Evaluate(context.Context) error { return nil }

func TestPlatformAdvice(t *testing.T) {
	own := platforms.Format(platforms.Normalize(platforms.DefaultSpec()))
	for _, c := range []struct {
		name string
		// asked is the option; "-" leaves it out.
		asked string
		// got are the platforms of the result; multi says that it has several refs.
		got   []string
		multi bool
		want  string
	}{
		{"as asked", "linux/arm64", []string{"linux/arm64"}, false, ""},
		{"default", "-", []string{own}, false, ""},
		{"variant spelled out", "linux/arm64/v8", []string{"linux/arm64"}, false, ""},
		{"version of the system is not asked for", "windows/amd64", []string{"windows(10.0.17763)/amd64"}, false, ""},
		{"other", "linux/arm64", []string{"linux/s390x"}, false, `Requested platform "linux/arm64" does not match result platform "linux/s390x"`},
		{"one for two", "linux/amd64,linux/arm64", []string{own}, false, "Multiple platforms requested but result is not multi-platform"},
		{"two for two", "linux/amd64,linux/arm64", []string{"linux/arm64", "linux/amd64"}, true, ""},
		{"two for the default", "linux/s390x", []string{"linux/arm64", "linux/amd64"}, true,
			"Requested platforms linux/s390x do not match result platforms linux/amd64,linux/arm64"},
		{"twice", "linux/amd64,linux/amd64", []string{own}, false, `Duplicate platform result requested "linux/amd64"`},
		{"no platform", "a/b/c/d", []string{own}, false, `Invalid platform result requested "a/b/c/d": `},
		{"nothing made", "linux/amd64,linux/arm64", nil, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &Built{Request: &Request{Opts: map[string]string{}}, Result: &frontend.Result{}}
			if c.asked != "-" {
				b.Request.Opts[optPlatform] = c.asked
			}
			for _, p := range c.got {
				b.Platforms = append(b.Platforms, export.Platform{ID: p, Platform: platforms.MustParse(p)})
				if c.multi {
					if b.Result.Refs == nil {
						b.Result.Refs = map[string]frontend.Ref{}
					}
					b.Result.Refs[p] = nothing{}
				} else {
					b.Result.Ref = nothing{}
				}
			}
			got := ""
			for _, w := range b.platformAdvice() {
				got += string(w.Short)
			}
			if c.name == "no platform" {
				got = got[:min(len(got), len(c.want))]
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
