package remote

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/ref"
)

// maxResolve is how many results are looked at side by side; the ref store
// bounds what that costs.
const maxResolve = 4

// BundleOptions say which results a cache gets, and how their layers look.
type BundleOptions struct {
	// Layers says how blobs that are made for the cache are compressed.
	Layers ref.LayerOptions
	// Max takes all results; otherwise only those whose layers are in Final.
	Max bool
	// Final are the results of the build; some may be nil.
	Final []*ref.Ref
	// Load makes a file system of an imported result; the caller releases it.
	// It is called for those whose blobs have to be made anew.
	Load func(ctx context.Context, s *Stack) (*ref.Ref, error)
	Env  solver.Env
}

// Bundle is a cache ready to be written.
type Bundle struct {
	// Config of the cache; without layers there is nothing to be found in it.
	Config *Config
	// Blobs are those that Config names, each once, in its order.
	Blobs []Blob

	held []solver.Result
}

// Blob is a layer and where it is.
type Blob struct {
	ref.Layer
	// From is nil for a blob in the local content store.
	From *Origin
}

// Release gives up the results whose blobs the bundle names.
func (b *Bundle) Release(ctx context.Context) {
	for _, r := range b.held {
		_ = r.Release(ctx)
	}
	b.held = nil
}

// Bundle finds out what layers the results have, making the blobs that are
// missing. The caller releases the bundle when it was written.
func (g *Graph) Bundle(ctx context.Context, results cache.Results, opt BundleOptions) (_ *Bundle, err error) {
	p := &packer{results: results, opt: opt, final: map[string]bool{}, blobs: map[digest.Digest]bool{}, bundle: &Bundle{}}
	defer func() {
		if err != nil {
			p.bundle.Release(context.WithoutCancel(ctx))
		}
	}()
	if err := p.findFinal(ctx); err != nil {
		return nil, err
	}
	stacks := make([]*Stack, len(g.items))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxResolve)
	for i, it := range g.items {
		if len(it.local)+len(it.imported) == 0 {
			continue
		}
		group.Go(func() (err error) {
			stacks[i], err = p.stackOf(gctx, it)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	records, place := g.records()
	b := &layering{byID: map[string]int{}}
	for i, s := range stacks {
		if s != nil {
			records[place[i]].Results = []TopLayer{{Layer: b.add(s), CreatedAt: s.CreatedAt.UTC()}}
		}
	}
	layers, moved := b.sorted()
	for _, r := range records {
		for i := range r.Results {
			r.Results[i].Layer = moved[r.Results[i].Layer]
		}
	}
	p.bundle.Config = &Config{Layers: layers, Records: records}
	p.bundle.Blobs = b.blobs(layers)
	return p.bundle, nil
}

// packer makes one bundle.
type packer struct {
	results cache.Results
	opt     BundleOptions
	// final has the ids of the refs that the build's results are stacked of,
	// blobs the digests of their layers, packed and unpacked.
	final map[string]bool
	blobs map[digest.Digest]bool

	mu     sync.Mutex // guards bundle.held
	bundle *Bundle
}

// findFinal notes what the results of the build are made of.
func (p *packer) findFinal(ctx context.Context) error {
	if p.opt.Max {
		return nil
	}
	for _, f := range p.opt.Final {
		for _, r := range f.Chain() {
			p.final[r.ID()] = true
		}
		layers, err := f.Layers(ctx, p.opt.Layers, p.opt.Env)
		if err != nil {
			return fmt.Errorf("layers of the result: %w", err)
		}
		for _, l := range layers {
			p.blobs[l.Descriptor.Digest], p.blobs[l.DiffID] = true, true
		}
	}
	return nil
}

// stackOf returns the layers of an item that the cache is to have; nil for
// none.
func (p *packer) stackOf(ctx context.Context, it *item) (*Stack, error) {
	for _, id := range it.local {
		s, err := p.local(ctx, id)
		if s != nil || err != nil {
			return s, err
		}
	}
	slices.SortFunc(it.imported, newest)
	for _, s := range it.imported {
		if !p.wanted(s) {
			continue
		}
		whole, err := present(ctx, s)
		if err != nil {
			return nil, err
		}
		switch {
		case whole && p.fits(s):
			return s, nil
		case whole && p.opt.Load != nil:
			return p.repacked(ctx, s)
		}
	}
	return nil, nil
}

// repacked is an imported result with blobs as they were insisted on.
func (p *packer) repacked(ctx context.Context, s *Stack) (*Stack, error) {
	r, err := p.opt.Load(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("load for cache export: %w", err)
	}
	p.hold(r)
	layers, err := r.Layers(ctx, p.opt.Layers, p.opt.Env)
	if err != nil {
		return nil, fmt.Errorf("layers of %q for cache export: %w", r.Info().Description, err)
	}
	return &Stack{Layers: layers, CreatedAt: s.CreatedAt}, nil
}

// hold keeps a result until the bundle is released.
func (p *packer) hold(r solver.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bundle.held = append(p.bundle.held, r)
}

// present reports whether the layers of an imported result are still there, as
// far as that can be known.
func present(ctx context.Context, s *Stack) (bool, error) {
	prober, ok := s.From.Blobs.(Prober)
	if !ok {
		return true, nil
	}
	for _, l := range s.Layers {
		if has, err := prober.Has(ctx, l.Descriptor); !has || err != nil {
			return false, err
		}
	}
	return true, nil
}

// local returns the layers of a result in the local store; nil if it is gone or
// not wanted.
func (p *packer) local(ctx context.Context, id string) (*Stack, error) {
	res, err := p.results.Load(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load result %s for cache export: %w", id, err)
	}
	r, err := ref.From(res)
	if err != nil || r == nil || !p.within(r) {
		if res != nil {
			_ = res.Release(context.WithoutCancel(ctx))
		}
		return nil, err
	}
	p.hold(res)
	layers, err := r.Layers(ctx, p.opt.Layers, p.opt.Env)
	if err != nil {
		return nil, fmt.Errorf("layers of %q for cache export: %w", r.Info().Description, err)
	}
	if len(layers) == 0 {
		return nil, nil
	}
	return &Stack{Layers: layers, CreatedAt: r.Info().CreatedAt}, nil
}

// within reports whether the build's results have all layers of r.
func (p *packer) within(r *ref.Ref) bool {
	return p.opt.Max || !slices.ContainsFunc(r.Chain(), func(c *ref.Ref) bool { return !p.final[c.ID()] })
}

// wanted tells whether the cache is to have a result that is not here.
func (p *packer) wanted(s *Stack) bool {
	return p.opt.Max || !slices.ContainsFunc(s.Layers, func(l ref.Layer) bool {
		// Other blobs of the same layers would be there twice, unless they are
		// made equal.
		return !p.blobs[l.Descriptor.Digest] && !(p.opt.Layers.Force && p.blobs[l.DiffID])
	})
}

// fits tells whether such a result goes on as it is: it has to have the
// compression that was insisted on.
func (p *packer) fits(s *Stack) bool {
	o := &p.opt.Layers
	return !o.Force || !slices.ContainsFunc(s.Layers, func(l ref.Layer) bool {
		return o.Level != nil || ref.CompressionOfLayer(l.Descriptor) != cmp.Or(o.Compression, ref.Gzip)
	})
}

// layering collects stacks as a tree of layers.
type layering struct {
	nodes []layerNode
	byID  map[string]int
}

type layerNode struct {
	// id covers the layers from the base up.
	id     string
	parent int
	blob   Blob
}

// add returns the number of the top layer of a stack.
func (b *layering) add(s *Stack) int {
	at, id := Root, ""
	for _, l := range s.Layers {
		id = digest.FromString(id + l.Descriptor.Digest.String()).Encoded()
		n, ok := b.byID[id]
		if !ok {
			n = len(b.nodes)
			b.byID[id] = n
			b.nodes = append(b.nodes, layerNode{id: id, parent: at, blob: Blob{Layer: l, From: s.From}})
		}
		if b.nodes[n].blob.From != nil && s.From == nil {
			// What is here need not be fetched.
			b.nodes[n].blob = Blob{Layer: l}
		}
		at = n
	}
	return at
}

// sorted returns the layers in an order that depends on nothing but what they
// are, and where each number went.
func (b *layering) sorted() (layers []Layer, moved []int) {
	order := make([]int, len(b.nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		return cmp.Or(cmp.Compare(b.nodes[x].blob.Descriptor.Digest, b.nodes[y].blob.Descriptor.Digest), cmp.Compare(b.nodes[x].id, b.nodes[y].id))
	})
	moved = make([]int, len(order))
	for to, from := range order {
		moved[from] = to
	}
	for _, from := range order {
		n := b.nodes[from]
		l := Layer{Blob: n.blob.Descriptor.Digest, Parent: Root}
		if n.parent != Root {
			l.Parent = moved[n.parent]
		}
		layers = append(layers, l)
	}
	return layers, moved
}

// blobs returns what layers name, each once.
func (b *layering) blobs(layers []Layer) []Blob {
	byDigest := map[digest.Digest]Blob{}
	for _, n := range b.nodes {
		d := n.blob.Descriptor.Digest
		if old, ok := byDigest[d]; !ok || old.From != nil {
			byDigest[d] = n.blob
		}
	}
	var out []Blob
	for _, l := range layers {
		if blob, ok := byDigest[l.Blob]; ok {
			out = append(out, blob)
			delete(byDigest, l.Blob)
		}
	}
	return out
}
