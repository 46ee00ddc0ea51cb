package plugin

import "testing"

func TestUserAgent(t *testing.T) {
	for version, want := range map[string]string{
		"v0.32.2": "buildkit/v0.32", "v1.0.0-rc1": "buildkit/v1.0-dev", "v0.0.0+unknown": "buildkit/v0.0-dev", "": "buildkit/v0.0-dev",
	} {
		if got := userAgent(version); got != want {
			t.Errorf("%q is %q, want %q", version, got, want)
		}
	}
}
