package graph

import (
	"context"
	"slices"

	"github.com/kilnbuild/kiln/solver"
)

// name is the stage "named": the name by the final keys of inputs, also of
// those whose content matters, unless a key means nothing outside the process.
// It stands between the other two names: it does not change when an input is
// made differently with the same outcome, and fewer inputs need to be looked
// into. Nil if there is nothing to gain, or a key must not be relied on.
func (n *node) name(ctx context.Context) (*identity, error) {
	spec, err := wait(ctx, n.keys)
	if err != nil || !anyContent(spec) || n.vertex.Options.IgnoreCache {
		return nil, err
	}
	flights := make([]*flight[*finalKey], len(n.inputs))
	for i, in := range n.inputs {
		flights[i] = in.final
	}
	n.lookAhead(ctx, spec)
	n.contentsAhead(ctx, spec)
	finals, err := waitAll(ctx, flights)
	if err != nil {
		return nil, err
	}
	id := newIdentity(spec)
	gain := false
	var look []int
	for i, f := range finals {
		if f.fresh != "" {
			return nil, nil
		}
		id.inputs = append(id.inputs, solver.KeyInput{Selector: spec.Inputs[i].Selector, Key: f.key})
		switch {
		case spec.Inputs[i].Content == nil:
			id.volatile = id.volatile || f.key.Volatile
		case f.key.Volatile:
			look = append(look, i)
		default:
			gain = true
		}
	}
	if !gain || id.volatile {
		return nil, nil
	}
	return id, n.lookInto(ctx, spec, id, look)
}

// lookInto replaces the keys of some inputs by their contents. The others are
// made meanwhile, as in the stage "composed".
func (n *node) lookInto(ctx context.Context, spec solver.KeySpec, id *identity, inputs []int) error {
	if len(inputs) == 0 {
		return nil
	}
	flights := make([]*flight[*held], len(inputs))
	for i, in := range inputs {
		flights[i] = n.inputs[in].value
	}
	n.contentsAhead(ctx, spec, inputs...)
	values, err := waitAll(ctx, flights)
	if err != nil {
		return err
	}
	defer n.solver.dropAll(context.WithoutCancel(ctx), values)
	for i, in := range inputs {
		d, err := n.content(ctx, in, spec.Inputs[in].Content, values[i])
		if err != nil {
			return err
		}
		id.inputs[in].Key = solver.NewContentKey(d)
	}
	return nil
}

// contentsAhead starts inputs without a record whose contents matter, but for
// those given: the final key of another one may stay unknown until a step has
// run, and what has to run anyway need not wait for that.
func (n *node) contentsAhead(ctx context.Context, spec solver.KeySpec, except ...int) {
	if !n.solver.ahead || len(n.inputs) < 2 {
		return
	}
	for i, in := range n.inputs {
		if spec.Inputs[i].Content != nil && !slices.Contains(except, i) {
			n.solver.flights.start(func() { n.start(ctx, spec.Digest, in) })
		}
	}
}

func anyContent(spec solver.KeySpec) bool {
	for _, in := range spec.Inputs {
		if in.Content != nil {
			return true
		}
	}
	return false
}

// newIdentity returns the final name of an op, still without inputs.
func newIdentity(spec solver.KeySpec) *identity {
	id := &identity{digest: spec.Digest, volatile: spec.Volatile}
	if spec.Content != "" {
		id.digest, id.volatile = spec.Content, false
	}
	return id
}

// renamed returns the name by the keys that inputs really have, where those
// mean anything, and else by what they contain; nil if it is final's.
func renamed(spec solver.KeySpec, final *identity, inputs []*held) *identity {
	id := newIdentity(spec)
	id.inputs = append(id.inputs, final.inputs...)
	same := true
	for i, in := range spec.Inputs {
		if in.Content != nil && !inputs[i].key.Volatile {
			id.inputs[i].Key = inputs[i].key
			same = false
		}
	}
	if same || id.volatile {
		return nil
	}
	return id
}

// recall is the stage "known": the record under the name by final keys.
func (o *output) recall(ctx context.Context) (*solver.Record, error) {
	id, err := wait(ctx, o.node.named)
	if err != nil || id == nil {
		return nil, err
	}
	return o.find(ctx, id.key(o.index))
}
