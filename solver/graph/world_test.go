package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// world is everything outside the graph: ops that can be told to misbehave,
// results whose holds are counted, and a cache that can lose things.
type world struct {
	mu      sync.Mutex
	holds   map[string]int
	values  map[string]*value
	records map[digest.Digest]*solver.Record
	runs    map[string]int
	keyed   map[string]int
	loads   int
	nextID  int

	// lose makes Load fail for a result, brokenLookup makes Lookup fail.
	lose         func(id string) bool
	brokenLookup func() bool
}

// value is what a result holds: its text and where it came from.
type value struct {
	id     string
	text   string
	born   int
	inputs []*value
}

func newWorld() *world {
	return &world{
		holds:        map[string]int{},
		values:       map[string]*value{},
		records:      map[digest.Digest]*solver.Record{},
		runs:         map[string]int{},
		keyed:        map[string]int{},
		lose:         func(string) bool { return false },
		brokenLookup: func() bool { return false },
	}
}

func (w *world) clock() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextID++
	return w.nextID
}

func (w *world) made(text string, born int, inputs []*value) *result {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextID++
	v := &value{id: fmt.Sprint("r", w.nextID), text: text, born: born, inputs: inputs}
	w.values[v.id] = v
	w.holds[v.id]++
	return &result{world: w, value: v}
}

// leaked returns the results that are still held.
func (w *world) leaked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for id, n := range w.holds {
		if n != 0 {
			out = append(out, fmt.Sprintf("%s (%q): %d holds", id, w.values[id].text, n))
		}
	}
	return out
}

type result struct {
	world    *world
	value    *value
	released atomic.Bool
}

func (r *result) ID() string { return r.value.id }

func (r *result) Clone() solver.Result {
	if r.released.Load() {
		panic("clone of a released hold on " + r.value.id)
	}
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.world.holds[r.value.id]++
	return &result{world: r.world, value: r.value}
}

func (r *result) Release(context.Context) error {
	if r.released.Swap(true) {
		panic("hold on " + r.value.id + " released twice")
	}
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.world.holds[r.value.id]--
	return nil
}

func (w *world) Lookup(_ context.Context, key *solver.Key) (*solver.Record, error) {
	if w.brokenLookup() {
		return nil, errors.New("lookup is broken")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records[key.ID()], nil
}

func (w *world) Load(_ context.Context, rec *solver.Record) (solver.Result, error) {
	if w.lose(rec.ResultID) {
		return nil, errors.New("result is gone")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loads++
	if rec.ResultID == "" {
		return nil, nil
	}
	w.holds[rec.ResultID]++
	return &result{world: w, value: w.values[rec.ResultID]}, nil
}

func (w *world) Save(_ context.Context, keys []*solver.Key, res solver.Result) (*solver.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rec := &solver.Record{Key: keys[0]}
	if res != nil {
		rec.ResultID = res.ID()
	}
	for _, k := range keys {
		w.records[k.ID()] = rec
	}
	return rec, nil
}

// op is an op whose behaviour is spelled out.
type op struct {
	world *world
	name  string
	key   string
	// content, if set, is the op's KeySpec.Content.
	content  string
	volatile bool
	// byContent says which inputs are keyed by what they contain; of those the
	// op sees projection only.
	byContent  []bool
	projection func(string) string
	// yield replaces the text that the op would make of its inputs.
	yield   string
	outputs int
	scratch bool

	keysErr, runErr func(ctx context.Context, env solver.Env) error
}

func (o *op) Keys(ctx context.Context, env solver.Env) (solver.KeySpec, error) {
	o.world.mu.Lock()
	o.world.keyed[o.name]++
	o.world.mu.Unlock()
	if o.keysErr != nil {
		if err := o.keysErr(ctx, env); err != nil {
			return solver.KeySpec{}, err
		}
	}
	spec := solver.KeySpec{Digest: digest.FromString(o.key), Volatile: o.volatile}
	if o.content != "" {
		spec.Content = digest.FromString("content " + o.content)
	}
	for _, by := range o.byContent {
		in := solver.InputKey{}
		if by {
			in.Content = func(_ context.Context, _ solver.Env, r solver.Result) (digest.Digest, error) {
				return digest.FromString(o.projection(textOf(r))), nil
			}
		}
		spec.Inputs = append(spec.Inputs, in)
	}
	return spec, nil
}

func textOf(r solver.Result) string {
	if r == nil {
		return ""
	}
	return r.(*result).value.text
}

func (o *op) Run(ctx context.Context, env solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	born := o.world.clock()
	o.world.mu.Lock()
	o.world.runs[o.name]++
	o.world.mu.Unlock()
	if o.runErr != nil {
		if err := o.runErr(ctx, env); err != nil {
			return nil, err
		}
	}
	texts := make([]string, len(inputs))
	values := make([]*value, len(inputs))
	for i, in := range inputs {
		texts[i] = textOf(in)
		if in != nil {
			if in.(*result).released.Load() {
				panic("input was released while the op ran")
			}
			values[i] = in.(*result).value
		}
	}
	var out []solver.Result
	for i := range o.outputs {
		if o.scratch {
			out = append(out, nil)
			continue
		}
		out = append(out, o.world.made(o.text(texts, i), born, values))
	}
	return out, nil
}

// text is what the op makes of inputs; the naive evaluator uses it too.
func (o *op) text(inputs []string, output int) string {
	if o.scratch {
		return ""
	}
	name := o.yield
	if name == "" {
		name = o.key
		if o.content != "" {
			name = o.content
		}
		seen := make([]string, len(inputs))
		for i, in := range inputs {
			seen[i] = in
			if o.byContent[i] {
				seen[i] = o.projection(in)
			}
		}
		name += "(" + strings.Join(seen, ",") + ")"
		if len(name) > 64 {
			name = digest.FromString(name).Encoded()[:32]
		}
	}
	if output > 0 {
		name += fmt.Sprint("#", output)
	}
	return name
}

func whole(s string) string { return s }

// firstByte is a projection under which many values look alike.
func firstByte(s string) string { return digest.FromString(s).Encoded()[:1] }

// parse reads a graph: one vertex a line, "name: input input~ input#1 | flag
// key=value". A tilde marks an input keyed by content, #n an output. Names
// must be used after they are defined; w's hooks find ops by name.
func (w *world) parse(text string) map[string]*solver.Vertex {
	vs := map[string]*solver.Vertex{}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		ins, flags, _ := strings.Cut(rest, "|")
		o := &op{world: w, name: name, key: name, outputs: 1, projection: whole}
		v := &solver.Vertex{Name: name, Op: o}
		id := name
		for _, in := range strings.Fields(ins) {
			id += " " + in
			in, by := strings.CutSuffix(in, "~")
			in, num, _ := strings.Cut(in, "#")
			index := 0
			if num != "" {
				fmt.Sscan(num, &index)
			}
			o.byContent = append(o.byContent, by)
			v.Inputs = append(v.Inputs, solver.Edge{Vertex: vs[in], Index: index})
			id += "=" + vs[in].Digest.String()
		}
		for _, f := range strings.Fields(flags) {
			if o.flag(f, v) {
				id += " " + f
			}
		}
		v.Digest = digest.FromString(id)
		vs[name] = v
	}
	return vs
}

// flag applies a flag of parse; it reports whether it changes what v means.
func (o *op) flag(f string, v *solver.Vertex) bool {
	k, val, _ := strings.Cut(f, "=")
	switch k {
	case "ignore":
		v.Options.IgnoreCache = true
		return false
	case "key":
		o.key = val
	case "content":
		o.content = val
	case "yield":
		o.yield = val
	case "volatile":
		o.volatile = true
	case "scratch":
		o.scratch = true
	case "outputs":
		fmt.Sscan(val, &o.outputs)
	case "fail":
		o.runErr = func(context.Context, solver.Env) error { return errors.New(o.name + " failed") }
		return false
	case "failkeys":
		o.keysErr = func(context.Context, solver.Env) error { return errors.New(o.name + " has no keys") }
		return false
	case "panic":
		o.runErr = func(context.Context, solver.Env) error { panic(o.name + " panics") }
		return false
	default:
		panic("unknown flag " + f)
	}
	return true
}

// pause waits a little, or until ctx ends.
func pause(ctx context.Context, rng func() float64) error {
	if rng() < 0.7 {
		return ctx.Err()
	}
	select {
	case <-time.After(time.Duration(rng() * float64(400*time.Microsecond))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dice is a random source for many goroutines.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{rng: rand.New(rand.NewPCG(seed, 7))} }

func (d *dice) float() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64()
}

func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}
