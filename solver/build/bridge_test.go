package build

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/frontend"
)

func TestFrontendPanic(t *testing.T) {
	res, err := safely(t.Context(), func() (*frontend.Result, error) {
		panic("nil map")
	})
	if res != nil || !errdefs.IsInternal(err) || !strings.Contains(err.Error(), "nil map") {
		t.Errorf("%v, %v", res, err)
	}
}
