package buildinfo_test

import (
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/cmd/internal/buildinfo"
)

func TestLineHasFourFields(t *testing.T) {
	for _, version := range []string{"", "v1.2.3"} {
		fields := strings.Fields(buildinfo.Get(version, "").Line("kilnd"))
		if len(fields) != 4 || fields[0] != "kilnd" || fields[1] != buildinfo.Package {
			t.Fatalf("line %q", fields)
		}
		if version != "" && fields[2] != version {
			t.Errorf("version %q, want %q", fields[2], version)
		}
	}
}
