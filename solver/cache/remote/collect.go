package remote

import (
	"cmp"
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
)

// CollectOptions say what else a Graph is made of.
type CollectOptions struct {
	// Imported are caches the build imported: what it found there goes on
	// being found, even if nothing of it had to be loaded.
	Imported []*Table
	// Without are ids of keys whose results must not be exported.
	Without map[digest.Digest]bool
}

// Collect returns the graph of what is under keys in the local cache. Keys that
// must not leave the process are left out with all that is built on nothing
// else.
func Collect(ctx context.Context, local cache.Inspector, keys []*solver.Key, opt CollectOptions) (*Graph, error) {
	c := &collector{
		local: local, opt: opt, nodes: map[digest.Digest]*cache.Node{}, groups: map[digest.Digest][]*item{},
		adopted: map[adoption]*item{},
	}
	var tops []*item
	for _, k := range keys {
		if k.Volatile {
			continue
		}
		c.seed(ctx, k)
		items := c.visit(ctx, k.ID())
		if c.err != nil {
			return nil, c.err
		}
		tops = append(tops, items...)
	}
	return newGraph(tops), nil
}

// collector walks the local cache. It is used once, by one goroutine.
type collector struct {
	local cache.Inspector
	opt   CollectOptions
	nodes map[digest.Digest]*cache.Node
	// groups has the items of the value that a key names.
	groups  map[digest.Digest][]*item
	adopted map[adoption]*item
	order   int
	err     error
}

// adoption names a record of an imported cache.
type adoption struct {
	table  *Table
	record int
}

// seed notes what a key in memory is made of, in case it was not stored.
func (c *collector) seed(ctx context.Context, key *solver.Key) {
	seen := map[*solver.Key]struct{}{}
	todo := []*solver.Key{key}
	for len(todo) > 0 {
		var k *solver.Key
		k, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if _, ok := seen[k]; ok {
			continue
		}
		seen[k] = struct{}{}
		if c.node(ctx, k.ID()) == nil && len(k.Inputs) > 0 {
			s := cache.Structure{Digest: k.Digest, Output: k.Output}
			for _, in := range k.Inputs {
				s.Inputs = append(s.Inputs, cache.Link{Selector: in.Selector, Key: in.Key.ID()})
			}
			c.nodes[k.ID()] = &cache.Node{ID: k.ID(), Structure: s}
		}
		for _, in := range k.Inputs {
			todo = append(todo, in.Key)
		}
	}
}

// node returns what is known of a key; nil for nothing. One walk brings all
// that is below it too.
func (c *collector) node(ctx context.Context, id digest.Digest) *cache.Node {
	if n, ok := c.nodes[id]; ok || c.err != nil {
		return n
	}
	c.nodes[id] = nil
	c.fail(c.local.Walk(ctx, id, func(n cache.Node) error {
		if c.nodes[n.ID] == nil {
			c.nodes[n.ID] = &n
		}
		return nil
	}))
	return c.nodes[id]
}

func (c *collector) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// expand is an Expand.
func (c *collector) expand(ctx context.Context, id digest.Digest) (cache.Structure, bool) {
	if n := c.node(ctx, id); n != nil {
		return n.Structure, true
	}
	return cache.Structure{}, false
}

// visit returns the items of the value that a key names: one for each op that
// gives it, so mostly one.
func (c *collector) visit(ctx context.Context, id digest.Digest) []*item {
	if items, ok := c.groups[id]; ok || c.err != nil {
		return items
	}
	if c.node(ctx, id) == nil {
		// Nothing is known of volatile keys.
		c.groups[id] = nil
		return nil
	}
	g := c.newGroup(ctx, id)
	for _, m := range g.members {
		c.groups[m.ID] = g.items
	}
	for _, m := range g.members {
		c.link(ctx, g.byName[recordName(m.Structure)], m)
	}
	for _, t := range c.opt.Imported {
		for _, m := range g.members {
			c.merge(ctx, g, t, m)
		}
	}
	return g.items
}

// group is the keys of one value.
type group struct {
	members []*cache.Node
	items   []*item
	byName  map[digest.Digest]*item
}

// newGroup finds the other keys that lead to the same final key as one does:
// the ways to name one value. Each op gets an item.
func (c *collector) newGroup(ctx context.Context, id digest.Digest) *group {
	g := &group{byName: map[digest.Digest]*item{}}
	without := false
	results := map[string]struct{}{}
	for _, id := range c.membersOf(ctx, id) {
		n := c.node(ctx, id)
		if n == nil {
			continue
		}
		name := recordName(n.Structure)
		it := g.byName[name]
		if it != nil && len(it.inputs) != len(n.Inputs) {
			continue
		}
		if it == nil {
			it = newItem(name, len(n.Inputs))
			c.order++
			it.number = c.order
			g.byName[name] = it
			g.items = append(g.items, it)
		}
		g.members = append(g.members, n)
		without = without || c.opt.Without[id]
		if n.Record != nil && n.Record.ResultID != "" {
			results[n.Record.ResultID] = struct{}{}
		}
	}
	for _, it := range g.items {
		// Without inputs it is a source, which is where it came from already.
		if len(it.inputs) == 0 || without {
			continue
		}
		for r := range results {
			it.local = append(it.local, r)
		}
		slices.Sort(it.local)
	}
	return g
}

// membersOf returns the keys with the same final key as id, itself among them,
// sorted.
func (c *collector) membersOf(ctx context.Context, id digest.Digest) []digest.Digest {
	ids := []digest.Digest{id}
	rec := c.node(ctx, id).Record
	if rec == nil || rec.ResultID == "" {
		return ids
	}
	final := rec.Key.ID()
	ids = append(ids, final)
	others, err := c.local.KeysOf(ctx, rec.ResultID)
	c.fail(err)
	for _, other := range others {
		if n := c.node(ctx, other); n != nil && n.Record != nil && n.Record.Key.ID() == final {
			ids = append(ids, other)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// link adds the inputs of a key to those of its item.
func (c *collector) link(ctx context.Context, it *item, n *cache.Node) {
	for i, in := range n.Inputs {
		selector := in.Selector.String()
		if s, ok := c.expand(ctx, in.Key); ok && isContent(s) {
			selector = ""
		}
		for _, to := range c.visit(ctx, in.Key) {
			it.inputs[i][link{selector, to}] = struct{}{}
		}
	}
}

// merge adds what an imported cache knows under a key: alternatives of inputs
// that nobody computed this time, and results that nobody loaded.
func (c *collector) merge(ctx context.Context, g *group, t *Table, n *cache.Node) {
	for _, i := range t.match(ctx, n.ID, nil, c.expand) {
		it := g.byName[recordName(n.Structure)]
		c.adopted[adoption{t, i}] = it
		if !c.opt.Without[n.ID] && len(it.inputs) > 0 {
			it.imported = append(it.imported, t.stacks(i)...)
		}
		c.adoptInputs(it, t, i)
	}
}

func (c *collector) adoptInputs(it *item, t *Table, record int) {
	for n, alternatives := range t.config.Records[record].Inputs {
		for _, in := range alternatives {
			it.inputs[n][link{in.Selector, c.adopt(t, in.Link)}] = struct{}{}
		}
	}
}

// adopt returns the item of an imported record.
func (c *collector) adopt(t *Table, record int) *item {
	a := adoption{t, record}
	if it := c.adopted[a]; it != nil {
		return it
	}
	r := &t.config.Records[record]
	it := newItem(r.Digest, len(r.Inputs))
	c.order++
	it.number = c.order
	c.adopted[a] = it
	it.imported = t.stacks(record)
	c.adoptInputs(it, t, record)
	return it
}

// newest orders stacks, the newest first, equal times by their layers.
func newest(a, b *Stack) int {
	return cmp.Or(cmp.Compare(b.CreatedAt.UnixNano(), a.CreatedAt.UnixNano()), cmp.Compare(a.ID(), b.ID()))
}
