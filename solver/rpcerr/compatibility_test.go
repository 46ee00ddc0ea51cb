package rpcerr_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

func TestCompatibilitySurvivesTheWire(t *testing.T) {
	in := fmt.Errorf("export: %w", &solver.CompatibilityError{Version: 10, Feature: "f"})
	out := rpcerr.FromGRPC(rpcerr.ToGRPC(in))
	var lacks *solver.CompatibilityError
	if !errors.As(out, &lacks) || lacks.Version != 10 || lacks.Feature != "f" || out.Error() != in.Error() {
		t.Errorf("%v became %v (%+v)", in, out, lacks)
	}
}
