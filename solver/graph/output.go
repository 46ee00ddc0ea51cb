package graph

import (
	"context"
	"fmt"

	"github.com/kilnbuild/kiln/solver"
)

// output is one output of a node.
type output struct {
	node  *node
	index int

	// probe looks the definition key up; nil if nothing is stored.
	probe *flight[*solver.Record]
	// known looks the name by final keys up; nil if nothing is stored.
	known *flight[*solver.Record]
	// final is the key that dependents build theirs on.
	final *flight[*finalKey]
	// value is the result itself, loaded or made.
	value *flight[*held]
}

func newOutput(n *node, index int) *output {
	o := &output{node: n, index: index}
	owner := &n.solver.flights
	o.probe = &flight[*solver.Record]{owner: owner, compute: o.lookup}
	o.known = &flight[*solver.Record]{owner: owner, compute: o.recall}
	o.final = &flight[*finalKey]{owner: owner, compute: o.finalise}
	o.value = &flight[*held]{owner: owner, compute: o.resolve,
		share: (*held).clone, drop: n.solver.drop}
	return o
}

// lookup is the stage "probe".
func (o *output) lookup(ctx context.Context) (*solver.Record, error) {
	if o.node.id.fresh != "" {
		// Also if the vertex is not to be run itself: a record under the
		// definition key would hide that something below it is.
		return nil, nil
	}
	id, err := wait(ctx, o.node.definition)
	if err != nil {
		return nil, err
	}
	return o.find(ctx, id.key(o.index))
}

// find looks a key up; a cache that cannot answer has no record.
func (o *output) find(ctx context.Context, key *solver.Key) (*solver.Record, error) {
	rec, err := o.node.solver.cache.Lookup(ctx, key)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		o.node.solver.fault(fmt.Errorf("look up cache record of %q: %w", o.node.vertex.Name, err))
		return nil, nil
	}
	if rec == nil {
		return o.node.findElsewhere(ctx, key)
	}
	return rec, nil
}

// finalise is the stage "final". A record found by definition tells the final
// key without looking at any input.
func (o *output) finalise(ctx context.Context) (*finalKey, error) {
	rec, err := wait(ctx, o.probe)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		if rec, err = wait(ctx, o.known); err != nil {
			return nil, err
		}
	}
	if rec != nil {
		return &finalKey{key: rec.Key}, nil
	}
	named, err := wait(ctx, o.node.named)
	if err != nil {
		return nil, err
	}
	if named != nil && o.node.recognized(ctx, named.key(o.index)) {
		return &finalKey{key: named.key(o.index)}, nil
	}
	id, err := wait(ctx, o.node.composed)
	if err != nil {
		return nil, err
	}
	return o.finalKey(id), nil
}

func (o *output) finalKey(id *identity) *finalKey {
	return &finalKey{key: id.key(o.index), fresh: id.fresh}
}

// resolve is the stage "value": the cheapest way to the result, in order: the
// record of the definition, the record of the content, running the op.
func (o *output) resolve(ctx context.Context) (*held, error) {
	rec, err := wait(ctx, o.probe)
	if err != nil {
		return nil, err
	}
	h, err := o.load(ctx, rec)
	if h != nil || err != nil {
		return h, err
	}
	known, err := wait(ctx, o.known)
	if err != nil {
		return nil, err
	}
	if known != nil && (rec == nil || known.ResultID != rec.ResultID) {
		h, err = o.load(ctx, known)
		if h != nil || err != nil {
			return h, err
		}
		rec = known
	}
	id, err := wait(ctx, o.node.composed)
	if err != nil {
		return nil, err
	}
	h, rec, err = o.loadFinal(ctx, id, rec)
	if h != nil || err != nil {
		return h, err
	}
	ready, err := wait(ctx, o.node.ready)
	if err != nil {
		return nil, err
	}
	defer o.node.solver.dropReadiness(context.WithoutCancel(ctx), ready)
	if ready.id.work() != id.work() {
		// The inputs turned out other than their records had promised.
		h, _, err = o.loadFinal(ctx, ready.id, rec)
		if h != nil || err != nil {
			return h, err
		}
	}
	return o.take(ctx)
}

// take gets the output from the run of the op.
func (o *output) take(ctx context.Context) (*held, error) {
	out, err := wait(ctx, o.node.made)
	if err != nil {
		return nil, err
	}
	if o.index < 0 || o.index >= len(out.outputs) {
		o.node.solver.dropOutcome(context.WithoutCancel(ctx), out)
		return nil, vertexError(o.node.vertex,
			fmt.Errorf("output %d was asked for, the op made %d", o.index, len(out.outputs)))
	}
	h := out.outputs[o.index]
	out.outputs[o.index] = nil
	o.node.solver.dropOutcome(context.WithoutCancel(ctx), out)
	return h, nil
}

// loadFinal tries the record under the final key, unless it is the one that
// tried could not be loaded from. The record it tried is returned.
func (o *output) loadFinal(ctx context.Context, id *identity, tried *solver.Record) (*held, *solver.Record, error) {
	if id.fresh != "" {
		return nil, tried, nil
	}
	rec, err := o.find(ctx, id.key(o.index))
	if err != nil || rec == nil || (tried != nil && rec.ResultID == tried.ResultID) {
		return nil, tried, err
	}
	h, err := o.load(ctx, rec)
	if h != nil && rec.From == nil {
		// Next time the definition leads here without a look at the inputs.
		o.node.alias(ctx, o.index, h)
	}
	return h, rec, err
}

// load gets a record's result; nil if it is gone, which only means more work.
func (o *output) load(ctx context.Context, rec *solver.Record) (*held, error) {
	if rec == nil {
		return nil, nil
	}
	s := o.node.solver
	began := s.now()
	from := s.cache
	if rec.From != nil {
		from = rec.From
	}
	res, err := from.Load(ctx, rec)
	if ctx.Err() != nil {
		if err == nil {
			s.release(ctx, res)
		}
		return nil, context.Cause(ctx)
	}
	if err != nil {
		s.fault(fmt.Errorf("load cached result %s of %q, it will be made again: %w", rec.ResultID, o.node.vertex.Name, err))
		return nil, nil
	}
	now := s.now()
	o.node.mark(mark{started: began, completed: &now, cached: true})
	h := &held{result: res, key: rec.Key, record: rec, cached: true}
	if rec.From != nil {
		o.node.alias(ctx, o.index, h)
	}
	return h, nil
}
