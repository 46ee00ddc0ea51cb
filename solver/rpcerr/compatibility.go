package rpcerr

import (
	"encoding/json"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/pb/errdefs"
)

func compatibilityDetail(e *solver.CompatibilityError) *errdefs.CompatibilityFeature {
	return &errdefs.CompatibilityFeature{Version: int64(e.Version), Feature: e.Feature}
}

func wrapCompatibility(data []byte, err error) error {
	var d errdefs.CompatibilityFeature
	if json.Unmarshal(data, &d) != nil {
		return err
	}
	return &solver.CompatibilityError{Version: int(d.GetVersion()), Feature: d.GetFeature(), Err: err}
}
