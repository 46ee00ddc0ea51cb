package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/ref"
)

// fakeResult is a result with nothing in it.
type fakeResult string

func (r fakeResult) ID() string                    { return string(r) }
func (r fakeResult) Clone() solver.Result          { return r }
func (r fakeResult) Release(context.Context) error { return nil }

type fakeResults struct{}

func (fakeResults) Load(_ context.Context, id string) (solver.Result, error) {
	return fakeResult(id), nil
}
func (fakeResults) Keep(context.Context, solver.Result) error { return nil }

// site is a builder: a local cache, and what it imported.
type site struct {
	t     *testing.T
	cache *cache.Memory
}

func newSite(t *testing.T) *site {
	return &site{t: t, cache: cache.NewMemory(fakeResults{})}
}

func (s *site) save(id string, keys ...*solver.Key) {
	s.t.Helper()
	if _, err := s.cache.Save(s.t.Context(), keys, fakeResult(id)); err != nil {
		s.t.Fatal(err)
	}
}

// export returns the config of a cache of what is under keys, in which every
// local result is one layer named after it.
func (s *site) export(opt CollectOptions, keys ...*solver.Key) *Config {
	s.t.Helper()
	g, err := Collect(s.t.Context(), s.cache, keys, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	records, place := g.records()
	l := &layering{byID: map[string]int{}}
	for i, it := range g.items {
		var stack *Stack
		switch {
		case len(it.local) > 0:
			stack = stackOf(it.local[0])
		case len(it.imported) > 0:
			stack = it.imported[0]
		default:
			continue
		}
		records[place[i]].Results = []TopLayer{{Layer: l.add(stack), CreatedAt: stack.CreatedAt}}
	}
	layers, moved := l.sorted()
	for _, r := range records {
		for i := range r.Results {
			r.Results[i].Layer = moved[r.Results[i].Layer]
		}
	}
	c := &Config{Layers: layers, Records: records}
	if err := c.Validate(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func stackOf(id string) *Stack {
	return &Stack{CreatedAt: time.Unix(1, 0).UTC(), Layers: []ref.Layer{{Descriptor: ocispecs.Descriptor{Digest: dgst(id)}, DiffID: dgst(id)}}}
}

// imported returns the table of a config.
func imported(c *Config) *Table {
	layers := map[digest.Digest]ref.Layer{}
	for _, l := range c.Layers {
		layers[l.Blob] = ref.Layer{Descriptor: ocispecs.Descriptor{Digest: l.Blob}, DiffID: l.Blob}
	}
	return NewTable(c, layers, &Origin{Name: "test"})
}

// expand knows the keys of the site.
func (s *site) expand(ctx context.Context, id digest.Digest) (cache.Structure, bool) {
	var out *cache.Structure
	err := s.cache.Walk(ctx, id, func(n cache.Node) error {
		out = &n.Structure
		return errEnough
	})
	if out == nil || !errors.Is(err, errEnough) {
		return cache.Structure{}, false
	}
	return *out, true
}

// finds fails unless the table has exactly the result of that name under key;
// "" for none.
func (s *site) finds(table *Table, key *solver.Key, want string) {
	s.t.Helper()
	got := table.Find(s.t.Context(), key, s.expand)
	switch {
	case got == nil && want == "":
	case got == nil || want == "" || got.Layers[0].Descriptor.Digest != dgst(want):
		s.t.Errorf("found %+v, want %q", got, want)
	}
}

func op(name string, inputs ...solver.KeyInput) *solver.Key {
	return solver.NewKey(dgst(name), 0, false, inputs)
}

func in(k *solver.Key) solver.KeyInput { return solver.KeyInput{Key: k} }

func selected(sel string, k *solver.Key) solver.KeyInput {
	return solver.KeyInput{Selector: dgst(sel), Key: k}
}

func bytesOf(name string) *solver.Key { return solver.NewContentKey(dgst(name)) }

// TestNames pins the names that records have on the wire.
func TestNames(t *testing.T) {
	s := newSite(t)
	base := op("image")
	step := op("run", in(base), selected("sel", bytesOf("files")))
	s.save("result", step)
	c := s.export(CollectOptions{}, step)
	want := map[digest.Digest]bool{
		digest.FromString(dgst("run").String() + "@0"): true, digest.FromString(dgst("image").String() + "@0"): true,
		digest.FromString(dgst("files").String() + "@-1"): true,
	}
	for _, r := range c.Records {
		if !want[r.Digest] {
			t.Errorf("unexpected record %s", r.Digest)
		}
		for _, alternatives := range r.Inputs {
			for _, a := range alternatives {
				if a.Selector != "" {
					t.Error("a content was exported with a selector")
				}
			}
		}
	}
	if len(c.Records) != len(want) {
		t.Errorf("%d records, want %d", len(c.Records), len(want))
	}
}

// TestShared goes from one site to another: values are found by definition, by
// content, and by mixtures of both that nobody has computed.
func TestShared(t *testing.T) {
	a := newSite(t)
	manifest, chain := op("manifest"), op("chain")
	a.save("base", chain, manifest)
	stage := op("make", in(chain))
	a.save("stage", stage, op("make", in(manifest)))
	copied := op("copy", in(chain), in(bytesOf("out")))
	a.save("copied", copied, op("copy", in(manifest), selected("/out", stage)))
	top := op("test", in(copied))
	a.save("top", top)
	c := a.export(CollectOptions{}, top)

	b := newSite(t)
	table := imported(c)
	b.finds(table, top, "top")
	b.finds(table, op("test", in(op("copy", in(manifest), in(bytesOf("out"))))), "top")
	b.finds(table, op("test", in(op("copy", in(chain), selected("/out", op("make", in(manifest)))))), "top")
	b.finds(table, op("copy", in(chain), selected("/other", stage)), "")
	b.finds(table, op("copy", in(bytesOf("out")), in(chain)), "")
	b.finds(table, op("test", in(op("copy", in(op("manifest2")), in(bytesOf("out"))))), "")
	b.finds(table, op("make", in(manifest)), "stage")
	b.finds(table, chain, "")
	b.finds(table, solver.NewKey(dgst("make"), 1, false, []solver.KeyInput{in(chain)}), "")
	b.finds(table, solver.NewKey(dgst("make"), 0, true, []solver.KeyInput{in(chain)}), "")

	// A key that was read back from a disk has lost its structure.
	b.save("local", copied)
	stub := &solver.Key{Digest: copied.ID(), Output: solver.ContentOutput}
	b.finds(table, op("test", in(stub)), "top")
}

// TestCarriedOn exports again what was imported and not loaded.
func TestCarriedOn(t *testing.T) {
	a := newSite(t)
	one := op("one", in(op("base")))
	two := op("two", in(one), in(bytesOf("x")))
	three := op("three", in(two))
	a.save("1", one)
	a.save("2", two)
	a.save("3", three)
	first := a.export(CollectOptions{}, three)

	b := newSite(t)
	b.save("3", three)
	again := b.export(CollectOptions{Imported: []*Table{imported(first)}}, three)
	if got, want := encode(t, again), encode(t, first); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b.finds(imported(again), one, "1")
}

// TestSameBytes exports the same in different orders.
func TestSameBytes(t *testing.T) {
	var keys []*solver.Key
	for i := range 20 {
		keys = append(keys, op(fmt.Sprint("step", i), in(op(fmt.Sprint("base", i%3))), in(bytesOf(fmt.Sprint(i%5)))))
	}
	var want string
	for range 5 {
		s := newSite(t)
		for i, k := range keys {
			s.save(fmt.Sprint(i), k)
		}
		got := encode(t, s.export(CollectOptions{}, keys...))
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		slices.Reverse(keys)
		for i, j := 0, len(keys)-1; i < j; i, j = i+1, j-1 {
			keys[i], keys[j] = keys[j], keys[i]
		}
	}
}

// TestLoop exports a step that copies what it made before onto itself: both
// have the same final key, so that a record would be its own input.
func TestLoop(t *testing.T) {
	s := newSite(t)
	final := op("copy", in(bytesOf("file")))
	first := op("copy", selected("/f", op("base")))
	second := op("copy", selected("/f", first))
	s.save("r", final, first)
	s.save("r", final, second)
	c := s.export(CollectOptions{}, final)
	s.finds(imported(c), final, "r")
	s.finds(imported(c), first, "r")
}

// TestWithout leaves out results, not records.
func TestWithout(t *testing.T) {
	s := newSite(t)
	one := op("one", in(op("base")))
	two := op("two", in(one))
	s.save("1", one)
	s.save("2", two)
	table := imported(s.export(CollectOptions{Without: map[digest.Digest]bool{one.ID(): true}}, two))
	s.finds(table, one, "")
	s.finds(table, two, "2")
}

// TestVolatile keeps what must not leave the process out of caches, and what is
// built on contents in them.
func TestVolatile(t *testing.T) {
	s := newSite(t)
	local := solver.NewKey(dgst("session"), 0, true, nil)
	copied := op("copy", in(op("base")), in(bytesOf("files")))
	s.save("r", copied, op("copy", in(op("base")), selected("/", local)))
	c := s.export(CollectOptions{}, copied)
	if len(c.Records) != 3 {
		t.Errorf("records are %s", encode(t, c))
	}
	s.finds(imported(c), copied, "r")
	if c := s.export(CollectOptions{}, op("run", in(local))); len(c.Records) != 0 {
		t.Errorf("records are %s", encode(t, c))
	}
}

func encode(t *testing.T, c *Config) string {
	t.Helper()
	data, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// BenchmarkCollect walks a chain of 1000 steps.
func BenchmarkCollect(b *testing.B) {
	store := cache.NewMemory(fakeResults{})
	key := op("base")
	for i := range 1000 {
		key = op(fmt.Sprint(i), in(key))
		if _, err := store.Save(b.Context(), []*solver.Key{key}, fakeResult(fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := Collect(b.Context(), store, []*solver.Key{key}, CollectOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
