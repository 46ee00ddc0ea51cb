package cachetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
)

// Run tests the stores that open returns; it is called once for each test and
// closes what it opened by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, results *Results) cache.Store) {
	tests := map[string]func(*fixture){
		"absent":           testAbsent,
		"save-and-load":    testSaveAndLoad,
		"scratch":          testScratch,
		"replace":          testReplace,
		"created-at":       testCreatedAt,
		"output-by-output": testOutputs,
		"volatile":         testVolatile,
		"forget":           testForget,
		"lost":             testLost,
		"walk":             testWalk,
		"walk-over-stubs":  testWalkOverStubs,
		"deep":             testDeep,
		"stats":            testStats,
		"concurrent":       testConcurrent,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			results := &Results{}
			f := &fixture{T: t, results: results, store: open(t, results)}
			test(f)
			if n := results.Holds(); n != 0 {
				t.Errorf("%d holds are left", n)
			}
		})
	}
}

// fixture is one test with the store it tests.
type fixture struct {
	*testing.T
	results *Results
	store   cache.Store
}

func op(name string) digest.Digest { return digest.FromString(name) }

func key(name string, inputs ...*solver.Key) *solver.Key {
	var ins []solver.KeyInput
	for _, in := range inputs {
		ins = append(ins, solver.KeyInput{Key: in})
	}
	return solver.NewKey(op(name), 0, false, ins)
}

// save stores a new result and gives its hold up.
func (f *fixture) save(id string, keys ...*solver.Key) *solver.Record {
	f.Helper()
	res := f.results.New(id)
	defer func() { _ = res.Release(f.Context()) }()
	rec, err := f.store.Save(f.Context(), keys, res)
	if err != nil {
		f.Fatalf("save %s: %v", id, err)
	}
	if rec.ResultID != id || rec.Key.ID() != keys[0].ID() || rec.CreatedAt.IsZero() {
		f.Fatalf("save %s returned %+v", id, rec)
	}
	return rec
}

// expect looks key up and wants the result of that id, "" for no record.
func (f *fixture) expect(k *solver.Key, id string) *solver.Record {
	f.Helper()
	rec, err := f.store.Lookup(f.Context(), k)
	if err != nil {
		f.Fatalf("lookup: %v", err)
	}
	switch {
	case rec == nil && id != "":
		f.Fatalf("lookup found nothing, want %s", id)
	case rec != nil && rec.ResultID != id:
		f.Fatalf("lookup found %s, want %q", rec.ResultID, id)
	}
	return rec
}

// testAbsent: what was never stored is absent without an error, forgetting it
// is fine, and a result needs a key.
func testAbsent(f *fixture) {
	f.expect(key("a"), "")
	if err := f.store.Forget(f.Context(), "unknown"); err != nil {
		f.Error(err)
	}
	if _, err := f.store.Save(f.Context(), nil, nil); err == nil {
		f.Error("saved without keys")
	}
}

// testSaveAndLoad: every key leads to the result and to the final key, so that
// dependents of either are the same.
func testSaveAndLoad(f *fixture) {
	final, definition := key("a", key("content")), key("a", key("b"))
	f.save("r1", final, definition)
	if !f.results.Kept("r1") {
		f.Error("the result was not kept")
	}
	for _, k := range []*solver.Key{final, definition} {
		rec := f.expect(k, "r1")
		if rec.Key.ID() != final.ID() {
			f.Errorf("the record's key is %s, want the final one", rec.Key.ID())
		}
		res, err := f.store.Load(f.Context(), rec)
		if err != nil {
			f.Fatal(err)
		}
		if res.ID() != "r1" {
			f.Errorf("loaded %s", res.ID())
		}
		_ = res.Release(f.Context())
	}
	// A key built on the record's key is the key built on the final key.
	if got, want := key("c", f.expect(definition, "r1").Key).ID(), key("c", final).ID(); got != want {
		f.Errorf("dependent's key is %s, want %s", got, want)
	}
	f.expect(key("b"), "")
}

// testScratch: the empty file system is a result that nobody has to keep.
func testScratch(f *fixture) {
	k := key("scratch")
	if _, err := f.store.Save(f.Context(), []*solver.Key{k}, nil); err != nil {
		f.Fatal(err)
	}
	rec, err := f.store.Lookup(f.Context(), k)
	if err != nil || rec == nil {
		f.Fatalf("lookup: %v, %v", rec, err)
	}
	res, err := f.store.Load(f.Context(), rec)
	if res != nil || err != nil {
		f.Errorf("load: %v, %v", res, err)
	}
}

// testReplace: a newer result takes over a key, and forgetting the older one
// leaves it alone.
func testReplace(f *fixture) {
	a, b := key("a"), key("b")
	f.save("old", a, b)
	f.save("new", a)
	f.expect(a, "new")
	f.expect(b, "old")
	if err := f.store.Forget(f.Context(), "old"); err != nil {
		f.Fatal(err)
	}
	f.expect(a, "new")
	f.expect(b, "")
}

// testCreatedAt: a new key for a known result does not make it younger.
func testCreatedAt(f *fixture) {
	first := f.save("r", key("a"))
	again := f.save("r", key("a"), key("alias"))
	if !again.CreatedAt.Equal(first.CreatedAt) {
		f.Errorf("a result got younger: %v, then %v", first.CreatedAt, again.CreatedAt)
	}
	f.expect(key("alias"), "r")
}

// testOutputs: a record of one output says nothing of another.
func testOutputs(f *fixture) {
	f.save("r0", solver.NewKey(op("a"), 0, false, nil))
	f.expect(solver.NewKey(op("a"), 1, false, nil), "")
}

// testVolatile: volatile keys are found by this process, but never the reason
// to make a result durable.
func testVolatile(f *fixture) {
	v := solver.NewKey(op("session"), 0, true, nil)
	f.save("r", v)
	f.expect(v, "r")
	if f.results.Kept("r") {
		f.Error("a result with nothing but volatile keys was made durable")
	}
	f.save("s", key("content"), key("copy", v))
	f.expect(key("copy", v), "s")
	if !f.results.Kept("s") {
		f.Error("the result was not kept")
	}
}

// testForget: all records of a result go at once, and it may come back.
func testForget(f *fixture) {
	f.save("r", key("a"), key("b"))
	f.save("s", key("c"))
	ids, err := f.store.KeysOf(f.Context(), "r")
	want := []digest.Digest{key("a").ID(), key("b").ID()}
	slices.Sort(want)
	if err != nil || !slices.Equal(ids, want) {
		f.Errorf("keys of r: %v, %v", ids, err)
	}
	if err := f.store.Forget(f.Context(), "r"); err != nil {
		f.Fatal(err)
	}
	f.expect(key("a"), "")
	f.expect(key("b"), "")
	f.expect(key("c"), "s")
	if ids, err := f.store.KeysOf(f.Context(), "r"); err != nil || len(ids) != 0 {
		f.Errorf("keys of r: %v, %v", ids, err)
	}
	f.save("r", key("a"))
	f.expect(key("a"), "r")
	f.expect(key("b"), "")
}

// testLost: a result that is gone takes its records with it when that is
// noticed.
func testLost(f *fixture) {
	rec := f.save("r", key("a"), key("b"))
	f.results.Lose("r")
	if _, err := f.store.Load(f.Context(), rec); err == nil {
		f.Fatal("loaded a lost result")
	}
	f.expect(key("a"), "")
	f.expect(key("b"), "")
}

// walk collects what is under a key.
func (f *fixture) walk(id digest.Digest) map[digest.Digest]cache.Node {
	f.Helper()
	nodes := map[digest.Digest]cache.Node{}
	err := f.store.Walk(f.Context(), id, func(n cache.Node) error {
		if _, ok := nodes[n.ID]; ok {
			f.Errorf("key %s came twice", n.ID)
		}
		nodes[n.ID] = n
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return nodes
}

// testWalk: the structure comes back as it was saved, each key once.
func testWalk(f *fixture) {
	content := solver.NewContentKey(op("files"))
	base := key("base")
	top := solver.NewKey(op("copy"), 1, false, []solver.KeyInput{
		{Key: base}, {Selector: op("/src"), Key: content}, {Key: base},
	})
	f.save("base", base)
	f.save("top", top)
	nodes := f.walk(top.ID())
	if len(nodes) != 3 {
		f.Fatalf("walked over %d keys, want 3", len(nodes))
	}
	n := nodes[top.ID()]
	if n.Digest != op("copy") || n.Output != 1 || len(n.Inputs) != 3 || n.Record == nil || n.Record.ResultID != "top" {
		f.Errorf("top is %+v", n)
	}
	if in := n.Inputs[1]; in.Selector != op("/src") || in.Key != content.ID() {
		f.Errorf("input is %+v", in)
	}
	if n := nodes[content.ID()]; n.Output != solver.ContentOutput || n.Record != nil {
		f.Errorf("content is %+v", n)
	}
	if len(f.walk(op("unknown"))) != 0 {
		f.Error("walked over an unknown key")
	}
	stop := fmt.Errorf("stop")
	if err := f.store.Walk(f.Context(), top.ID(), func(cache.Node) error { return stop }); !errors.Is(err, stop) {
		f.Errorf("walk returned %v", err)
	}
}

// testWalkOverStubs builds on the key of a record, which may say less than the
// key it was saved under.
func testWalkOverStubs(f *fixture) {
	base := key("base", key("root"))
	f.save("base", base)
	rec := f.expect(base, "base")
	top := key("top", rec.Key)
	f.save("top", top)
	nodes := f.walk(top.ID())
	if len(nodes) != 3 || nodes[base.ID()].Digest != op("base") {
		f.Errorf("walked over %+v", nodes)
	}
	// A stub that comes first is replaced by what is known better.
	late := key("late", key("root"))
	other := key("other", solver.NewContentKey(late.ID()))
	f.save("other", other)
	f.save("late", late)
	if nodes := f.walk(other.ID()); len(nodes) != 3 || nodes[late.ID()].Digest != op("late") {
		f.Errorf("walked over %+v", nodes)
	}
}

// testDeep: chains as long as the longest builds neither recurse nor crawl.
func testDeep(f *fixture) {
	const depth = 10_000
	k := key("bottom")
	for i := range depth {
		k = key(fmt.Sprint(i), k)
		k.ID()
	}
	f.save("deep", k)
	if n := len(f.walk(k.ID())); n != depth+1 {
		f.Errorf("walked over %d keys, want %d", n, depth+1)
	}
}

// testStats: counts are right once nothing is pending.
func testStats(f *fixture) {
	f.save("r", key("a"), key("b"))
	f.expect(key("a"), "r")
	f.expect(key("x"), "")
	st, err := f.store.Stats(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if st.Lookups != 2 || st.Hits != 1 {
		f.Errorf("stats are %+v", st)
	}
	if st.Pending == 0 && (st.Records != 2 || st.Results != 1 || st.Structures != 2) {
		f.Errorf("stats are %+v", st)
	}
}

// testConcurrent: many savers, finders and forgetters see their own writes.
func testConcurrent(f *fixture) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				id := fmt.Sprint("r", i, "-", n)
				k := key(fmt.Sprint(n%10), key(fmt.Sprint(i)))
				res := f.results.New(id)
				rec, err := f.store.Save(f.Context(), []*solver.Key{k, key("shared")}, res)
				_ = res.Release(f.Context())
				if err != nil {
					f.Error(err)
					return
				}
				if got, err := f.store.Lookup(f.Context(), k); err != nil || got == nil || got.ResultID != rec.ResultID {
					f.Errorf("lookup: %+v, %v, want %s", got, err, id)
				}
				if n%7 == 0 {
					if err := f.store.Forget(f.Context(), id); err != nil {
						f.Error(err)
					}
					if got, _ := f.store.Lookup(f.Context(), k); got != nil && got.ResultID == id {
						f.Errorf("%s was found after it was forgotten", id)
					}
				}
			}
		})
	}
	wg.Wait()
}
