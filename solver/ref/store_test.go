package ref

import (
	"maps"
	"testing"

	"github.com/containerd/errdefs"
)

func TestLayers(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		base := f.layer(nil, files{"a": "1", "d/b": "2"})
		top := f.layer(base, files{"d/b": "-", "c": "3"})
		if got, want := f.files(top), (files{"a": "1", "c": "3"}); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if n := len(top.Chain()); n != 2 {
			t.Errorf("%d layers in chain, want 2", n)
		}
		f.release(base)
		if got := f.files(top); len(got) != 2 {
			t.Errorf("child does not keep its parent: %v", got)
		}
		f.release(top)
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

func TestKept(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		base := f.layer(nil, files{"a": "1"})
		top := f.layer(base, files{"b": "2"}, WithDescription("step"), WithRecordType(TypeLocal))
		if err := top.SetInfo("state", "x"); err != nil {
			t.Fatal(err)
		}
		f.keep(top)
		id, baseID := top.ID(), base.ID()
		f.release(base, top)
		f.reopen()
		got, err := f.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if fs := f.files(got); !maps.Equal(fs, files{"a": "1", "b": "2"}) {
			t.Errorf("got %v", fs)
		}
		info := got.Info()
		if info.Description != "step" || info.RecordType != TypeLocal || got.GetInfo("state") != "x" || info.Parents[0] != baseID {
			t.Errorf("record changed: %+v", info)
		}
		if _, err := f.Get(t.Context(), "nobody"); !errdefs.IsNotFound(err) {
			t.Errorf("unknown id: %v", err)
		}
		var removed []string
		f.OnRemove(func(id string) { removed = append(removed, id) })
		if err := f.Prune(t.Context(), PruneOptions{All: true}, nil); err != nil {
			t.Fatal(err)
		}
		if len(removed) != 0 {
			t.Errorf("prune removed %v, which is held", removed)
		}
		f.release(got)
		var emitted []string
		if err := f.Prune(t.Context(), PruneOptions{All: true}, func(u Usage) { emitted = append(emitted, u.ID) }); err != nil {
			t.Fatal(err)
		}
		// The parent was kept by nobody but its child: it goes along.
		if len(removed) != 2 || len(emitted) != 2 || emitted[0] != id {
			t.Errorf("removed %v, emitted %v", removed, emitted)
		}
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}
