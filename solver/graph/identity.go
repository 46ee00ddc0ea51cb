package graph

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// identity is a name of a vertex's work, all outputs together.
type identity struct {
	digest   digest.Digest
	volatile bool
	inputs   []solver.KeyInput
	// fresh is empty, or set if stored records must not be used because
	// something that this name relies on is run again on request. It tells
	// apart the same work done with different freshness.
	fresh string

	// first is the key of output 0, which is asked for again and again.
	once  sync.Once
	first *solver.Key
}

// key returns the key of one output, with its ID computed: keys are made from
// the bottom up, so that computing an ID never recurses deeply.
func (id *identity) key(output int) *solver.Key {
	if output == 0 {
		id.once.Do(func() { id.first = id.newKey(0) })
		return id.first
	}
	return id.newKey(output)
}

func (id *identity) newKey(output int) *solver.Key {
	k := solver.NewKey(id.digest, output, id.volatile, id.inputs)
	k.ID()
	return k
}

// work names the work itself: what has equal names need run only once.
func (id *identity) work() digest.Digest {
	key := id.key(0).ID()
	if id.fresh == "" {
		return key
	}
	return digest.FromString(key.String() + id.fresh)
}

// define is the stage "definition": the name by how everything is made.
func (n *node) define(ctx context.Context) (*identity, error) {
	spec, err := wait(ctx, n.keys)
	if err != nil {
		return nil, err
	}
	flights := make([]*flight[*identity], len(n.inputs))
	for i, in := range n.inputs {
		flights[i] = in.node.definition
	}
	ids, err := waitAll(ctx, flights)
	if err != nil {
		return nil, err
	}
	id := &identity{digest: spec.Digest, volatile: spec.Volatile}
	for i, in := range n.inputs {
		id.inputs = append(id.inputs, solver.KeyInput{Selector: spec.Inputs[i].Selector, Key: ids[i].key(in.index)})
	}
	return id, nil
}

// finalKey is what an output contributes to the final keys of dependents.
type finalKey struct {
	key *solver.Key
	// fresh as in identity.
	fresh string
}

// compose is the stage "composed": the name with contents where contents
// matter. It resolves the inputs it has to look into, and no others.
func (n *node) compose(ctx context.Context) (*identity, error) {
	spec, err := wait(ctx, n.keys)
	if err != nil {
		return nil, err
	}
	var (
		ts     = make([]interest, len(n.inputs))
		finals = make([]*ticket[*finalKey], len(n.inputs))
		values = make([]*ticket[*held], len(n.inputs))
	)
	for i, in := range n.inputs {
		if spec.Inputs[i].Content != nil {
			values[i] = in.value.ticket()
			ts[i] = values[i]
		} else {
			finals[i] = in.final.ticket()
			ts[i] = finals[i]
		}
	}
	n.lookAhead(ctx, spec)
	if err := await(ctx, ts); err != nil {
		return nil, err
	}
	held := make([]*held, len(n.inputs))
	keys := make([]*finalKey, len(n.inputs))
	for i := range n.inputs {
		if values[i] != nil {
			held[i] = values[i].value
		} else {
			keys[i] = finals[i].value
		}
	}
	defer n.solver.dropAll(ctx, held)
	return n.identify(ctx, spec, held, keys)
}

// identify puts a final name together. For each input either held or keys has
// an entry; held must where content matters.
func (n *node) identify(ctx context.Context, spec solver.KeySpec, held []*held, keys []*finalKey) (*identity, error) {
	id := newIdentity(spec)
	var fresh strings.Builder
	if n.vertex.Options.IgnoreCache {
		fresh.WriteString("|self")
	}
	for i, in := range spec.Inputs {
		input := solver.KeyInput{Selector: in.Selector}
		switch {
		case in.Content != nil:
			d, err := n.content(ctx, i, in.Content, held[i])
			if err != nil {
				return nil, err
			}
			input.Key = solver.NewContentKey(d)
		case held[i] != nil:
			input.Key = held[i].key
			noteFresh(&fresh, i, held[i].fresh)
		default:
			input.Key = keys[i].key
			noteFresh(&fresh, i, keys[i].fresh)
		}
		id.inputs = append(id.inputs, input)
	}
	id.fresh = fresh.String()
	return id, nil
}

func noteFresh(b *strings.Builder, input int, fresh string) {
	if fresh != "" {
		// Only the digest, or the text would grow with the graph.
		fmt.Fprintf(b, "|%d:%s", input, digest.FromString(fresh))
	}
}

// content returns the digest of what the op sees of an input, remembered for
// the life of the node.
func (n *node) content(ctx context.Context, i int, fn solver.ContentFunc, in *held) (digest.Digest, error) {
	id := contentID{input: i, result: in.resultID()}
	n.mu.Lock()
	d, ok := n.contents[id]
	n.mu.Unlock()
	if ok {
		return d, nil
	}
	env := &nodeEnv{node: n, asking: originOf(ctx).job}
	err := insist(ctx, env.asking, n.interested, func() error {
		var err error
		d, err = call(n.solver, func() (digest.Digest, error) { return fn(ctx, env, in.result) })
		return err
	})
	if err == nil && d == "" {
		err = fmt.Errorf("input %d has no content digest", i)
	}
	if err != nil {
		if ctx.Err() == nil {
			n.keepFailure(&solver.Failure{Inputs: []solver.Result{in.result}, Action: -1, Content: i})
			// Nothing else would show which step it is that cannot go on.
			shown := &showing{node: n, keys: true}
			shown.start()
			shown.end(err)
		}
		return "", vertexError(n.vertex, fmt.Errorf("failed to compute cache key: %w", err))
	}
	n.mu.Lock()
	n.contents[id] = d
	n.mu.Unlock()
	return d, nil
}
