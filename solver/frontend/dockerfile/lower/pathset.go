package lower

import (
	"maps"
	"path"
	"slices"
)

// pathSet collects the paths of a context that a build reads, so that a client
// sends no more. It is filled while stages are lowered and read when the graph
// is written.
type pathSet struct{ paths map[string]struct{} }

// add notes a path; relative ones start at the context's root, and none leads
// out of it.
func (s *pathSet) add(p string) {
	if s.paths == nil {
		s.paths = map[string]struct{}{}
	}
	s.paths[path.Join("/", p)] = struct{}{}
}

// follow lists the paths relative to the context, sorted; nil stands for the
// whole context.
func (s *pathSet) follow() []string {
	if _, all := s.paths["/"]; all || len(s.paths) == 0 {
		return nil
	}
	out := make([]string, 0, len(s.paths))
	for p := range maps.Keys(s.paths) {
		out = append(out, path.Join(".", p))
	}
	slices.Sort(out)
	return out
}
