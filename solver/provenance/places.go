package provenance

import (
	"context"
	"slices"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export"
)

// places tells how many of an image's layers were there when a step had ended,
// for the steps that the image's file system grew through.
type places map[string]int

// newPlaces looks for the results of steps among those that the result for a
// platform is stacked of. A nil config has no steps.
func newPlaces(ctx context.Context, b *build.Built, p export.Platform, config *BuildConfig) (places, error) {
	if config == nil {
		return nil, nil
	}
	stack, err := b.Stack(ctx, b.Ref(p.ID))
	if err != nil {
		return nil, err
	}
	heights := make(map[string]int, len(stack))
	for i, id := range stack {
		heights[id] = i + 1
	}
	out := places{}
	for vertex, id := range b.ResultIDs(ctx) {
		step := config.StepID(vertex)
		if height := heights[id]; step != "" && height > 0 {
			out[step+":0"] = height
		}
	}
	return out, nil
}

// layersOf has the chains of layers of steps, by "<step id>:<output>".
type layersOf = map[string][][]ocispecs.Descriptor

// of returns the layers of each step, out of those of the whole file system in
// one or several forms. A form that is not complete ends where it ends.
func (p places) of(chains ...[]ocispecs.Descriptor) layersOf {
	out := layersOf{}
	for output, height := range p {
		for _, layers := range chains {
			if height <= len(layers) && !slices.ContainsFunc(out[output], func(o []ocispecs.Descriptor) bool { return same(o, layers[:height]) }) {
				out[output] = append(out[output], layers[:height])
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// same reports whether two chains are the same blobs.
func same(a, b []ocispecs.Descriptor) bool {
	return slices.EqualFunc(a, b, func(x, y ocispecs.Descriptor) bool { return x.Digest == y.Digest })
}
