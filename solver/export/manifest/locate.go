package manifest

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// locate finds the layers that files come from: of each, the uppermost that
// brings it. A file that an upper layer removes is still told with the layer
// that had it. It implements attest.Locate.
func (p *part) locate(ctx context.Context, names []string) (map[string]digest.Digest, error) {
	chain := p.Ref.Chain()
	if len(chain) != len(p.layers) || len(names) == 0 {
		return nil, nil
	}
	out := map[string]digest.Digest{}
	rest := slices.Clone(names)
	// Layer by layer, not file by file: the indexes of a large image need not
	// be in memory together.
	for i, layer := range slices.Backward(chain) {
		if len(rest) == 0 {
			break
		}
		idx, err := layer.Index(ctx)
		if err != nil {
			return nil, fmt.Errorf("find files of layer %s: %w", p.layers[i].DiffID, err)
		}
		rest = slices.DeleteFunc(rest, func(name string) bool {
			e := idx.Lookup(strings.TrimPrefix(path.Join("/", name), "/"))
			if e == nil || e.Kind == layerindex.Whiteout {
				return false
			}
			out[name] = p.layers[i].Descriptor.Digest
			return true
		})
	}
	return out, nil
}
