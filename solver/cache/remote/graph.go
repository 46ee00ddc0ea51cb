package remote

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Graph is the records of a build, without a decision about their results.
// Collect makes it; it is not changed afterwards.
type Graph struct {
	// items are in order: inputs before dependents, equal ones once.
	items []*item
}

// item is one record in the making.
type item struct {
	name   digest.Digest
	inputs []map[link]struct{}
	// local are ids of results in the local store, imported results that are
	// not here.
	local    []string
	imported []*Stack

	// number is the place in Graph.items.
	number int
	// id covers name and inputs all the way down.
	id digest.Digest
}

// link is one alternative of an input.
type link struct {
	selector string
	to       *item
}

// newItem returns an item with room for inputs.
func newItem(name digest.Digest, inputs int) *item {
	it := &item{name: name}
	for range inputs {
		it.inputs = append(it.inputs, map[link]struct{}{})
	}
	return it
}

// newGraph orders what is under tops. Alternatives that lead in a circle are
// left out, and so is what has an input without any: two ways to make a value
// may each need the other, as when a step copies a file onto itself.
func newGraph(tops []*item) *Graph {
	o := &orderer{ids: map[*item]digest.Digest{}, state: map[*item]int{}, equal: map[digest.Digest]*item{}, graph: &Graph{}}
	for _, top := range tops {
		o.visit(top)
	}
	return o.graph
}

// orderer walks items depth first.
type orderer struct {
	graph *Graph
	state map[*item]int
	ids   map[*item]digest.Digest
	// equal has the first item of each id.
	equal map[digest.Digest]*item
}

const (
	walking = iota + 1
	usable
	unusable
)

// visit adds what is under an item and the item itself.
func (o *orderer) visit(it *item) {
	if o.state[it] != 0 {
		return
	}
	o.state[it] = walking
	id := []string{it.name.String()}
	for n, alternatives := range it.inputs {
		kept := map[link]struct{}{}
		var names []string
		for _, l := range sortedLinks(alternatives) {
			o.visit(l.to)
			if o.state[l.to] != usable {
				continue
			}
			name := l.selector + "|" + o.ids[l.to].String()
			if l.to = o.equal[o.ids[l.to]]; l.to == nil {
				continue
			}
			if _, twice := kept[l]; !twice {
				kept[l] = struct{}{}
				names = append(names, name)
			}
		}
		if len(kept) == 0 {
			o.state[it] = unusable
			return
		}
		it.inputs[n] = kept
		slices.Sort(names)
		id = append(id, fmt.Sprint(n), strings.Join(names, " "))
	}
	o.state[it] = usable
	it.id = digest.FromString(strings.Join(id, "\n"))
	o.ids[it] = it.id
	if same := o.equal[it.id]; same != nil {
		same.local = append(same.local, it.local...)
		same.imported = append(same.imported, it.imported...)
		return
	}
	o.equal[it.id] = it
	it.number = len(o.graph.items)
	o.graph.items = append(o.graph.items, it)
}

// sortedLinks orders alternatives by what is known of them before ids are.
func sortedLinks(m map[link]struct{}) []link {
	out := make([]link, 0, len(m))
	for l := range m {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.selector, b.selector), cmp.Compare(a.to.name, b.to.name), cmp.Compare(a.to.number, b.to.number))
	})
	return out
}

// records returns the records of the graph without results, sorted so that
// equal graphs give equal bytes, and the place of each item among them.
func (g *Graph) records() ([]Record, []int) {
	order := slices.Clone(g.items)
	slices.SortFunc(order, func(a, b *item) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id)) })
	place := make([]int, len(order))
	for i, it := range order {
		place[it.number] = i
	}
	out := make([]Record, len(order))
	for i, it := range order {
		out[i].Digest = it.name
		for _, alternatives := range it.inputs {
			var list []Input
			for l := range alternatives {
				list = append(list, Input{Selector: l.selector, Link: place[l.to.number]})
			}
			slices.SortFunc(list, func(a, b Input) int {
				return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Selector, b.Selector))
			})
			out[i].Inputs = append(out[i].Inputs, list)
		}
	}
	return out, place
}
