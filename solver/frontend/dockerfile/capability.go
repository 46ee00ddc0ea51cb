package dockerfile

import (
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver"
)

// capabilities are what clients may ask of this frontend.
var capabilities = []string{
	"moby.buildkit.frontend.inputs", "moby.buildkit.frontend.subrequests", "moby.buildkit.frontend.contexts",
	"moby.buildkit.frontend.gitquerystring",
}

// checkCapabilities looks for demanded capabilities that this frontend lacks.
// later tells that the error only counts if the file is not handed to another
// frontend, which may have them.
func checkCapabilities(demanded string) (later bool, err error) {
	if demanded == "" {
		return false, nil
	}
	for name := range strings.SplitSeq(demanded, ",") {
		id, suffix, _ := strings.Cut(name, "+")
		if slices.Contains(capabilities, id) {
			continue
		}
		err = &solver.CapError{Name: id}
		if !strings.Contains(suffix, "forward") {
			return false, err
		}
		later = true
	}
	return later, err
}
