package graph

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// PlanVertex says what is known of one vertex of a job; the JSON form is for
// people who debug and may change.
type PlanVertex struct {
	Digest digest.Digest   `json:"digest"`
	Name   string          `json:"name"`
	Inputs []digest.Digest `json:"inputs,omitempty"`
	// Fresh says that this vertex or one below it ignores the cache.
	Fresh bool `json:"fresh,omitempty"`
	// Jobs that are attached, oldest first.
	Jobs []string `json:"jobs"`
	// States of the stages by name: idle, running, unwinding, done, failed.
	Keys       string `json:"keys"`
	Definition string `json:"definition"`
	Composed   string `json:"composed"`
	Ready      string `json:"ready"`
	Made       string `json:"made"`
	// Error is the first failure among the stages.
	Error   string       `json:"error,omitempty"`
	Outputs []PlanOutput `json:"outputs"`
}

// PlanOutput says what is known of one output of a vertex.
type PlanOutput struct {
	Index int    `json:"index"`
	Probe string `json:"probe"`
	Final string `json:"final"`
	Value string `json:"value"`
	// DefinitionKey and FinalKey are ids of keys, empty while not known.
	DefinitionKey digest.Digest `json:"definitionKey,omitempty"`
	FinalKey      digest.Digest `json:"finalKey,omitempty"`
	// Record is the result id of the record found by definition.
	Record string `json:"record,omitempty"`
	Cached bool   `json:"cached,omitempty"`
}

// Plan returns what is known of all vertices of the job at this moment, sorted
// by name and digest. It disturbs nothing.
func (j *Job) Plan() []PlanVertex {
	j.solver.mu.Lock()
	nodes := make([]*node, 0, len(j.nodes))
	for n := range j.nodes {
		nodes = append(nodes, n)
	}
	j.solver.mu.Unlock()
	plan := make([]PlanVertex, 0, len(nodes))
	for _, n := range nodes {
		plan = append(plan, n.plan())
	}
	slices.SortFunc(plan, func(a, b PlanVertex) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	return plan
}

// Dump writes Plan as indented JSON.
func (j *Job) Dump(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(j.Plan()); err != nil {
		return fmt.Errorf("dump job %s: %w", j.id, err)
	}
	return nil
}

func (n *node) plan() PlanVertex {
	p := PlanVertex{Digest: n.vertex.Digest, Name: n.vertex.Name, Fresh: n.id.fresh != ""}
	for _, in := range n.inputs {
		p.Inputs = append(p.Inputs, in.node.vertex.Digest)
	}
	for _, j := range n.interested() {
		p.Jobs = append(p.Jobs, j.id)
	}
	n.mu.Lock()
	outputs := make([]*output, 0, len(n.outputs))
	for _, o := range n.outputs {
		outputs = append(outputs, o)
	}
	n.mu.Unlock()
	slices.SortFunc(outputs, func(a, b *output) int { return a.index - b.index })

	_ = show(n.keys, &p.Keys, &p.Error)
	definition := show(n.definition, &p.Definition, &p.Error)
	_ = show(n.composed, &p.Composed, &p.Error)
	_ = show(n.ready, &p.Ready, &p.Error)
	_ = show(n.made, &p.Made, &p.Error)
	for _, o := range outputs {
		p.Outputs = append(p.Outputs, o.plan(definition, &p.Error))
	}
	return p
}

func (o *output) plan(definition *identity, failure *string) PlanOutput {
	p := PlanOutput{Index: o.index}
	if definition != nil {
		p.DefinitionKey = definition.key(o.index).ID()
	}
	if rec := show[*solver.Record](o.probe, &p.Probe, failure); rec != nil {
		p.Record = rec.ResultID
	}
	if final := show(o.final, &p.Final, failure); final != nil {
		p.FinalKey = final.key.ID()
	}
	if value := show(o.value, &p.Value, failure); value != nil {
		p.Cached = value.cached
		p.FinalKey = value.key.ID()
	}
	return p
}

// show notes a flight's state and its error, unless there is one already.
func show[T any](f *flight[T], s, failure *string) T {
	st, value, err := f.peek()
	*s = st.String()
	if err != nil && *failure == "" {
		*failure = err.Error()
	}
	return value
}
