package graph

import (
	"context"
	"strings"

	"github.com/kilnbuild/kiln/solver"
)

// name is the stage "named": the name by the final keys of all inputs, also of
// those whose content matters. It stands between the other two names: it does
// not change when an input is made differently with the same outcome, and it
// needs no input to be looked into. Nil if there is nothing to gain: no content
// matters, or an input's key means nothing, or must not be relied on.
func (n *node) name(ctx context.Context) (*identity, error) {
	spec, err := wait(ctx, n.keys)
	if err != nil || !anyContent(spec) {
		return nil, err
	}
	flights := make([]*flight[*finalKey], len(n.inputs))
	for i, in := range n.inputs {
		flights[i] = in.final
	}
	n.lookAhead(ctx, spec)
	finals, err := waitAll(ctx, flights)
	if err != nil {
		return nil, err
	}
	var fresh strings.Builder
	id := newIdentity(spec)
	for i, f := range finals {
		if f.key.Volatile {
			return nil, nil
		}
		noteFresh(&fresh, i, f.fresh)
		id.inputs = append(id.inputs, solver.KeyInput{Selector: spec.Inputs[i].Selector, Key: f.key})
	}
	if fresh.Len() > 0 || n.vertex.Options.IgnoreCache || id.volatile {
		return nil, nil
	}
	return id, nil
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
	if o.node.id.fresh != "" && o.node.vertex.Options.IgnoreCache {
		return nil, nil
	}
	id, err := wait(ctx, o.node.named)
	if err != nil || id == nil {
		return nil, err
	}
	return o.find(ctx, id.key(o.index))
}
