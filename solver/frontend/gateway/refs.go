package gateway

import (
	"maps"
	"slices"

	"github.com/kilnbuild/kiln/solver/frontend"
)

// RefIDs returns the ids by which the frontend can look into the refs of a
// result, sorted by platform; empty file systems have none. They are good for
// the rest of the build.
func (s *Session) RefIDs(res *frontend.Result) ([]string, error) {
	refs := []frontend.Ref{res.Ref}
	for _, k := range slices.Sorted(maps.Keys(res.Refs)) {
		refs = append(refs, res.Refs[k])
	}
	var ids []string
	for _, r := range refs {
		id, err := s.put(r)
		if err != nil {
			return nil, err
		}
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
