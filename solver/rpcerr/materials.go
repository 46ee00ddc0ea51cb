package rpcerr

import (
	"encoding/json"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/pb/errdefs"
)

func materialsDetail(e *solver.MaterialsError) *errdefs.ProvenanceMaterialsIncomplete {
	out := &errdefs.ProvenanceMaterialsIncomplete{}
	for _, m := range e.Missing {
		out.Incomplete = append(out.Incomplete, &errdefs.ProvenanceMaterialIncomplete{
			Op: m.Op, Name: m.Name, Method: m.Method, Uri: m.URI, FinalUri: m.FinalURI, Reason: m.Reason,
		})
	}
	return out
}

func wrapMaterials(data []byte, err error) error {
	var d errdefs.ProvenanceMaterialsIncomplete
	if json.Unmarshal(data, &d) != nil {
		return err
	}
	out := &solver.MaterialsError{Err: err}
	for _, m := range d.Incomplete {
		out.Missing = append(out.Missing, solver.MissingMaterial{
			Op: m.GetOp(), Name: m.GetName(), Method: m.GetMethod(), URI: m.GetUri(), FinalURI: m.GetFinalUri(), Reason: m.GetReason(),
		})
	}
	return out
}
