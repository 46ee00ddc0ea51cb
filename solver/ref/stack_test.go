package ref

import (
	"maps"
	"testing"

	"github.com/containerd/errdefs"
)

func TestMerge(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		base := f.layer(nil, files{"a": "base", "gone": "1", "d/x": "1"})
		one := f.layer(base, files{"a": "one", "gone": "-"})
		two := f.layer(nil, files{"b": "two", "d/y": "2"})
		three := f.layer(two, files{"a": "three", "b": "-"})
		for _, test := range []struct {
			refs   []*Ref
			want   files
			layers int
		}{
			{[]*Ref{one, two}, files{"a": "one", "b": "two", "d/x": "1", "d/y": "2"}, 3},
			{[]*Ref{two, one}, files{"a": "one", "b": "two", "d/x": "1", "d/y": "2"}, 3},
			{[]*Ref{one, three}, files{"a": "three", "d/x": "1", "d/y": "2"}, 4},
			{[]*Ref{three, one}, files{"a": "one", "d/x": "1", "d/y": "2"}, 4},
			{[]*Ref{nil, two, nil}, files{"b": "two", "d/y": "2"}, 1},
			{[]*Ref{one, one}, files{"a": "one", "d/x": "1"}, 2},
		} {
			m, err := f.Merge(ctx, test.refs)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.files(m); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if n := len(m.Chain()); n != test.layers {
				t.Errorf("%d layers, want %d", n, test.layers)
			}
			flat := f.layer(nil, test.want)
			if a, b := f.digest(m, "/", ContentOptions{}), f.digest(flat, "/", ContentOptions{}); a != b {
				t.Errorf("digest of merge %s, flat %s", a, b)
			}
			f.release(m, flat)
		}
		if m, err := f.Merge(ctx, []*Ref{nil, nil}); err != nil || m != nil {
			t.Errorf("merge of nothing: %v, %v", m, err)
		}
		f.release(base, one, two, three)
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

// TestMergeAlive runs on top of a merge whose inputs are gone, kept over a
// restart and a collection.
func TestMergeAlive(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		one, two := f.layer(nil, files{"a": "1"}), f.layer(nil, files{"b": "2"})
		m, err := f.Merge(t.Context(), []*Ref{one, two})
		if err != nil {
			t.Fatal(err)
		}
		run := f.layer(m, files{"c": "3", "a": "-"})
		f.keep(run)
		id := run.ID()
		f.release(one, two, m, run)
		f.reopen()
		f.left()
		run, err = f.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.files(run); !maps.Equal(got, files{"b": "2", "c": "3"}) {
			t.Errorf("got %v", got)
		}
		layers, err := run.Layers(t.Context(), LayerOptions{}, nil)
		if err != nil || len(layers) != 3 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		f.release(run)
		if err := f.Prune(t.Context(), PruneOptions{All: true}, nil); err != nil {
			t.Fatal(err)
		}
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

func TestDiff(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		base := f.layer(nil, files{"a": "1", "b": "2"})
		mid := f.layer(base, files{"b": "-", "c": "3"})
		top := f.layer(mid, files{"d": "4"})
		other := f.layer(nil, files{"a": "1!", "e": "5"})
		diff := func(lower, upper *Ref) *Ref {
			t.Helper()
			d, err := f.Diff(ctx, lower, upper)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		if d := diff(top, top); d != nil {
			t.Errorf("same: %v", d)
		}
		if d := diff(nil, top); d.ID() != top.ID() {
			t.Errorf("from nothing: %v", d)
		} else {
			f.release(d)
		}
		// On top of anything, a difference does what its layers did.
		onto := f.layer(nil, files{"b": "B", "z": "26"})
		for _, test := range []struct {
			lower, upper *Ref
			want, merged files
			layers       int
		}{
			{base, top, files{"c": "3", "d": "4"}, files{"c": "3", "d": "4", "z": "26"}, 2},
			{mid, top, files{"d": "4"}, files{"b": "B", "d": "4", "z": "26"}, 1},
			{base, other, files{"a": "1!", "e": "5"}, files{"a": "1!", "e": "5", "z": "26"}, 1},
		} {
			d := diff(test.lower, test.upper)
			if got := f.files(d); !maps.Equal(got, test.want) {
				t.Errorf("difference: got %v, want %v", got, test.want)
			}
			if n := len(d.Chain()); n != test.layers {
				t.Errorf("%d layers, want %d", n, test.layers)
			}
			m, err := f.Merge(ctx, []*Ref{onto, d})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.files(m); !maps.Equal(got, test.merged) {
				t.Errorf("merged: got %v, want %v", got, test.merged)
			}
			f.release(d, m)
		}
		f.release(base, mid, top, other, onto)
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

// TestForgetMutable checks that the names given up are empty again, and that
// what somebody has stays.
func TestForgetMutable(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	ids := map[string]string{}
	var used *Active
	for _, key := range []string{"a", "b", "c"} {
		m, err := f.Mutable(ctx, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ids[key] = m.ID(); key == "b" {
			used = m
		} else if err := m.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.ForgetMutable(ctx, func(key string) bool { return key != "c" }); err != nil {
		t.Fatal(err)
	}
	if err := used.Release(ctx); err != nil {
		t.Fatal(err)
	}
	for key, same := range map[string]bool{"a": false, "b": true, "c": true} {
		m, err := f.Mutable(ctx, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		if (m.ID() == ids[key]) != same {
			t.Errorf("%s: same is %v", key, !same)
		}
		if err := m.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMutable(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		base := f.layer(nil, files{"a": "1"})
		a, err := f.Mutable(ctx, "cache", base, WithDescription("cache mount"))
		if err != nil {
			t.Fatal(err)
		}
		f.release(base)
		again, err := f.Mutable(ctx, "cache", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.ID() != again.ID() {
			t.Error("two of the same name")
		}
		dir, release, err := a.Dir(ctx)
		if err != nil {
			t.Fatal(err)
		}
		files{"b": "2"}.write(t, dir)
		if err := release(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Commit(ctx); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("commit of a mutable: %v", err)
		}
		for _, x := range []*Active{a, a, again} {
			if err := x.Release(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Get(ctx, a.ID()); !errdefs.IsNotFound(err) {
			t.Errorf("a mutable is no ref: %v", err)
		}
		f.reopen()
		f.left()
		b, err := f.Mutable(ctx, "cache", nil)
		if err != nil {
			t.Fatal(err)
		}
		dir, release, err = b.Dir(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for p := range (files{"a": "", "b": ""}) {
			wantFile(t, dir, p)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		list, err := f.Usage(ctx, []string{"mutable,type==exec.cachemount"})
		if err != nil || len(list) != 1 || !list[0].InUse || list[0].Description != "cache mount" {
			t.Errorf("usage %+v, %v", list, err)
		}
		if err := b.Discard(ctx); err != nil {
			t.Fatal(err)
		}
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

func TestLockMutable(t *testing.T) {
	f := newFixture(t, hostOptions{})
	unlock, ok := f.LockMutable("k")
	if !ok {
		t.Fatal("not locked")
	}
	if _, ok := f.LockMutable("k"); ok {
		t.Error("locked twice")
	}
	unlock()
	if again, ok := f.LockMutable("k"); !ok {
		t.Error("not unlocked")
	} else {
		unlock() // once is enough
		if _, ok := f.LockMutable("k"); ok {
			t.Error("unlocked for others")
		}
		again()
	}
}
