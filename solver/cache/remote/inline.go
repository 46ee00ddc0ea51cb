package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/ref"
)

// InlineField is the field of an image configuration that has the records of a
// cache whose layers are those of the image; in JSON its bytes are base64.
const InlineField = "moby.buildkit.cache.v0"

// Inline returns the records for the image of final as JSON, with the results
// that are made of nothing but its layers; nil if there are none. layers are
// those of the image, one for each of final's, base first.
func (g *Graph) Inline(ctx context.Context, results cache.Results, final *ref.Ref, layers []ref.Layer) ([]byte, error) {
	in := &inliner{results: results, layers: layers, byRef: map[string]int{}}
	for i, r := range final.Chain() {
		if _, twice := in.byRef[r.ID()]; !twice {
			in.byRef[r.ID()] = i
		}
	}
	records, place := g.records()
	any := false
	for i, it := range g.items {
		r := &records[place[i]]
		if err := in.fill(ctx, it, r); err != nil {
			return nil, err
		}
		any = any || len(r.Results)+len(r.Chains) > 0
	}
	if !any {
		return nil, nil
	}
	data, err := json.Marshal(records)
	if err != nil {
		return nil, fmt.Errorf("encode inline cache: %w", err)
	}
	return data, nil
}

// inliner finds results among the layers of one image.
type inliner struct {
	results cache.Results
	layers  []ref.Layer
	// byRef has the place of a ref's own layer.
	byRef map[string]int
}

// fill adds the result of an item to its record, if the image has it.
func (in *inliner) fill(ctx context.Context, it *item, r *Record) error {
	for _, id := range it.local {
		res, err := in.results.Load(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("load result %s for inline cache: %w", id, err)
		}
		held, err := ref.From(res)
		if err != nil || held == nil {
			return err
		}
		places, ok := in.placesOfRef(held)
		created := held.Info().CreatedAt.UTC()
		_ = held.Release(context.WithoutCancel(ctx))
		if ok {
			r.place(places, TopLayer{CreatedAt: created})
			return nil
		}
	}
	slices.SortFunc(it.imported, newest)
	for _, s := range it.imported {
		if places, ok := in.placesOfStack(s); ok {
			r.place(places, TopLayer{CreatedAt: s.CreatedAt.UTC()})
			return nil
		}
	}
	return nil
}

// placesOfRef returns which layers of the image a file system is made of.
func (in *inliner) placesOfRef(r *ref.Ref) ([]int, bool) {
	var out []int
	for _, c := range r.Chain() {
		i, ok := in.byRef[c.ID()]
		if !ok || i >= len(in.layers) {
			return nil, false
		}
		out = append(out, i)
	}
	return out, len(out) > 0
}

// placesOfStack does so for a result that is not here.
func (in *inliner) placesOfStack(s *Stack) ([]int, bool) {
	var out []int
	for n, l := range s.Layers {
		same := func(own ref.Layer) bool { return own.DiffID == l.DiffID }
		i := n
		if n >= len(in.layers) || !same(in.layers[n]) {
			if i = slices.IndexFunc(in.layers, same); i < 0 {
				return nil, false
			}
		}
		out = append(out, i)
	}
	return out, len(out) > 0
}

// place sets the result: by its top layer if it is the image up to there, as a
// chain otherwise.
func (r *Record) place(places []int, top TopLayer) {
	for i, p := range places {
		if i != p {
			r.Chains = []Chain{{Layers: places, CreatedAt: top.CreatedAt}}
			return
		}
	}
	top.Layer = len(places) - 1
	r.Results = []TopLayer{top}
}
