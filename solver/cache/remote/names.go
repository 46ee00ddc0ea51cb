package remote

import (
	"context"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
)

// recordName is what a record is called by: the digest of op and output, or of
// a content (wire format fact).
func recordName(s cache.Structure) digest.Digest {
	return digest.FromString(s.Digest.String() + "@" + strconv.Itoa(s.Output))
}

// isContent tells keys of contents.
func isContent(s cache.Structure) bool {
	return s.Output == solver.ContentOutput && len(s.Inputs) == 0
}

// Expand returns what a key is made of; false if that is not known.
type Expand func(ctx context.Context, id digest.Digest) (cache.Structure, bool)

// structureOf returns what key is made of. Keys that come from the local cache
// may have lost it and look like contents.
func structureOf(ctx context.Context, key *solver.Key, expand Expand) (cache.Structure, []*solver.Key) {
	if key.Output == solver.ContentOutput && len(key.Inputs) == 0 {
		if s, ok := expand(ctx, key.ID()); ok {
			return s, nil
		}
	}
	s := cache.Structure{Digest: key.Digest, Output: key.Output}
	keys := make([]*solver.Key, len(key.Inputs))
	for i, in := range key.Inputs {
		s.Inputs = append(s.Inputs, cache.Link{Selector: in.Selector, Key: in.Key.ID()})
		keys[i] = in.Key
	}
	return s, keys
}
