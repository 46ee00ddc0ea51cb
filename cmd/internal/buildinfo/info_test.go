package buildinfo_test

import (
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/cmd/internal/buildinfo"
)

func TestLineHasFourFields(t *testing.T) {
	for version, want := range map[string]string{
		"": "", "v1.2.3": "v0.32.2+kiln.1.2.3", "d5be99a": "v0.32.2+kiln.d5be99a",
		"v1.2.3-4-gabc-dirty": "v0.32.2+kiln.1.2.3-4-gabc-dirty", "v0.1.0~rc1+dirty": "v0.32.2+kiln.0.1.0-rc1-dirty",
	} {
		fields := strings.Fields(buildinfo.Get(version, "").Line("kilnd"))
		if len(fields) != 4 || fields[0] != "kilnd" || fields[1] != buildinfo.Package {
			t.Fatalf("line %q", fields)
		}
		if fields[2] != want && version != "" || !strings.HasPrefix(fields[2], buildinfo.Level+"+kiln.") {
			t.Errorf("version %q, want %q", fields[2], want)
		}
	}
}
