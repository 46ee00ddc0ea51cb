package build

import (
	"context"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/pkg/labels"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
)

// Layers returns the blobs that there are of a ref's layers, base first, in
// each of the forms in which they were exported or cached. It makes none.
func (b *Built) Layers(ctx context.Context, r frontend.Ref) ([][]ocispecs.Descriptor, error) {
	held, err := hold(ctx, r)
	if err != nil || held == nil {
		return nil, err
	}
	defer func() { _ = held.Release(context.WithoutCancel(ctx)) }()
	var out [][]ocispecs.Descriptor
	for _, chain := range held.KnownLayers() {
		var descs []ocispecs.Descriptor
		for _, l := range chain {
			d := l.Descriptor
			d.Annotations = maps.Clone(d.Annotations)
			maps.DeleteFunc(d.Annotations, func(k, _ string) bool { return private(k) })
			descs = append(descs, d)
		}
		out = append(out, descs)
	}
	return out, nil
}

// private tells annotations that say something of this machine's store only.
func private(key string) bool {
	return key == labels.LabelUncompressed || strings.HasPrefix(key, "buildkit/") || strings.HasPrefix(key, labels.LabelDistributionSource+".")
}
