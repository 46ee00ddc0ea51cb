package lower

import (
	"fmt"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// commandKey is under what a vertex keeps the text of its instruction.
const commandKey = "com.docker.dockerfile.v1.command"

// write turns the plan that ends in results into graphs, which share what they
// have in common.
func write(results []*node, text *compose.Text) ([]compose.State, error) {
	w := &writer{text: text, done: map[*node]compose.State{}}
	order := sortNodes(results)
	shareLabels(order)
	for _, n := range order {
		state, err := w.node(n)
		if err != nil {
			return nil, err
		}
		w.done[n] = state
	}
	states := make([]compose.State, len(results))
	for i, result := range results {
		states[i] = w.done[result]
	}
	return states, nil
}

// sortNodes lists what results need, inputs first.
func sortNodes(results []*node) []*node {
	var order []*node
	seen := map[*node]bool{nil: true}
	for _, result := range results {
		if !seen[result] {
			seen[result] = true
			order = sortInto(order, result, seen)
		}
	}
	return order
}

// sortInto adds what result needs and was not seen to order. It does not
// recurse, as stages may be thousands of steps long.
func sortInto(order []*node, result *node, seen map[*node]bool) []*node {
	type visit struct {
		node *node
		next int
	}
	path := []visit{{node: result}}
	for len(path) > 0 {
		top := &path[len(path)-1]
		in := top.node.work.inputs()
		if top.next == len(in) {
			order = append(order, top.node)
			path = path[:len(path)-1]
			continue
		}
		next := in[top.next]
		top.next++
		if !seen[next] {
			seen[next] = true
			path = append(path, visit{node: next})
		}
	}
	return order
}

// shareLabels gives sources that will be one vertex one label, that of the last
// one: which of several names the vertex shows must not depend on who merges
// them.
func shareLabels(order []*node) {
	last := map[string]label{}
	for _, n := range order {
		if work, ok := n.work.(*openWork); ok && work.key != "" {
			last[work.key] = n.label
		}
	}
	for _, n := range order {
		if work, ok := n.work.(*openWork); ok && work.key != "" {
			shared := last[work.key]
			n.label.name, n.label.source = shared.name, shared.source
		}
	}
}

// writer holds the states of the nodes that were written; the nil node's is the
// zero State.
type writer struct {
	text *compose.Text
	done map[*node]compose.State
}

// node writes one node; those it reads from are written. What is wrong with a
// graph shows here and is blamed on the lines that the node comes from.
func (w *writer) node(n *node) (compose.State, error) {
	info := w.info(n.label)
	var state compose.State
	switch work := n.work.(type) {
	case *openWork:
		var err error
		if state, err = work.open(info); err != nil {
			return state, err
		}
	case *execWork:
		exec := work.exec
		exec.Mounts = append([]compose.Mount{}, exec.Mounts...)
		for i, from := range work.from {
			exec.Mounts[i].Source = w.done[from]
		}
		state = compose.Run(exec, info).Root()
	case *fileWork:
		actions := make([]compose.Action, len(work.actions))
		for i, action := range work.actions {
			actions[i] = action.other
			if action.copy != nil {
				copied := *action.copy
				copied.From = w.done[action.from]
				actions[i] = copied
			}
		}
		state = compose.Files(w.done[work.base], info, actions...)
	case *mergeWork:
		layers := make([]compose.State, len(work.layers))
		for i, layer := range work.layers {
			layers[i] = w.done[layer]
		}
		state = compose.Merge(layers, info)
	default:
		return state, fmt.Errorf("plan holds an unknown step %T", work)
	}
	return state, syntax.At(state.Err(), n.label.ranges)
}

// info is the label in the words of the graph.
func (w *writer) info(l label) compose.Info {
	info := compose.Info{Name: l.name, Platform: l.platform, IgnoreCache: l.ignoreCache, Group: l.group, Resources: l.resources}
	if l.source != nil {
		info.Description = map[string]string{commandKey: *l.source}
	}
	if w.text != nil && len(l.ranges) > 0 {
		info.Locations = []compose.Location{{Text: w.text, Ranges: Ranges(l.ranges)}}
	}
	return info
}

// Ranges converts the lines of a file.
func Ranges(in []syntax.Range) []compose.Range {
	out := make([]compose.Range, len(in))
	for i, r := range in {
		out[i] = compose.Range{
			Start: compose.Position{Line: r.Start.Line, Character: r.Start.Character},
			End:   compose.Position{Line: r.End.Line, Character: r.End.Character},
		}
	}
	return out
}
