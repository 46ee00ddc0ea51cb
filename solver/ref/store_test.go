package ref

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
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

func TestSnapshotGone(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := f.ctx(t.Context())
	base := f.layer(nil, files{"a": "1"})
	top := f.layer(base, files{"b": "2"})
	f.keep(top)
	id, lease := top.ID(), top.e.lease
	f.release(base, top)
	if err := f.cfg.Leases.Delete(ctx, leases.Lease{ID: lease}); err != nil {
		t.Fatal(err)
	}
	if err := f.cfg.GC(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get(ctx, id); !errdefs.IsNotFound(err) {
		t.Errorf("got %v, want not found", err)
	}
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
}

func TestDamagedDatabase(t *testing.T) {
	f := newFixture(t, hostOptions{})
	r := f.layer(nil, files{"a": "1"})
	f.keep(r)
	f.release(r)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.cfg.Root, "refs.db"), bytes.Repeat([]byte("x"), 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	if n, err := f.Sweep(t.Context()); err != nil || n != 1 {
		t.Errorf("swept %d leases, want that of the ref; %v", n, err)
	}
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
}

func TestSecondStoreIsRefused(t *testing.T) {
	f := newFixture(t, hostOptions{})
	if _, err := Open(t.Context(), f.host.cfg); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestLeftoverMounts(t *testing.T) {
	f := newFixture(t, hostOptions{})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(f.cfg.Root, mountsDir, "old")
	sub := filepath.Join(ours, "sub")
	other := filepath.Join(t.TempDir(), "other")
	near := filepath.Join(f.cfg.Root, mountsDir+"-not")
	for _, dir := range []string{ours, sub, other, near} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, dir := range []string{other, near} {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}()
	f.open()
	names, err := os.ReadDir(filepath.Join(f.cfg.Root, mountsDir))
	if err != nil || len(names) > 0 {
		t.Errorf("left %v, %v", names, err)
	}
}

func TestMountsAreShared(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	base := f.layer(nil, files{"a": "1"})
	r := f.layer(base, files{"b": "2"})
	one, releaseOne, err := r.Dir(ctx)
	if err != nil {
		t.Fatal(err)
	}
	two, releaseTwo, err := r.Dir(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if one != two {
		t.Errorf("two mounts: %s and %s", one, two)
	}
	f.release(base, r)
	for _, release := range []func() error{releaseOne, releaseOne} {
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
	wantFile(t, two, "b")
	if err := releaseTwo(); err != nil {
		t.Fatal(err)
	}
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
	a, err := f.Prepare(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := a.Dir(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(ctx); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("commit while mounted: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := a.Discard(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestUsesAreBatched reads a ref often and finds the count after a restart.
func TestUsesAreBatched(t *testing.T) {
	f := newFixture(t, hostOptions{})
	r := f.layer(nil, files{"a": "1"})
	f.keep(r)
	id := r.ID()
	f.release(r)
	writes := func() int64 {
		stats := f.db.bolt.(*bolt.DB).Stats()
		return stats.TxStats.GetWrite()
	}
	before := writes()
	for range 20 {
		r, err := f.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		f.release(r)
	}
	if after := writes(); after != before {
		t.Errorf("%d writes for uses", after-before)
	}
	f.reopen()
	list, err := f.Usage(t.Context(), nil)
	if err != nil || len(list) != 1 || list[0].UsageCount != 1+20 || list[0].LastUsedAt == nil {
		t.Errorf("usage %+v, %v", list, err)
	}
}

// TestKeepingWaitsForNoDisk keeps refs without asking for durability, which
// comes at the safe point and may fail there.
func TestKeepingWaitsForNoDisk(t *testing.T) {
	f := newFixture(t, hostOptions{})
	broken := errors.New("disk is full")
	asked, answer := 0, error(nil)
	f.host.cfg.Durable = func(context.Context) error {
		asked++
		return answer
	}
	f.reopen()
	r := f.layer(nil, files{"a": "1"})
	before := asked
	f.keep(r)
	if asked != before {
		t.Errorf("keeping asked %d times", asked-before)
	}
	answer = broken
	if err := f.Sync(t.Context()); !errors.Is(err, broken) || asked != before+1 {
		t.Errorf("asked %d times, %v", asked-before, err)
	}
	answer = nil
	for range 2 {
		if err := f.Sync(t.Context()); err != nil || asked != before+2 {
			t.Errorf("asked %d times, %v", asked-before, err)
		}
	}
	id := r.ID()
	f.release(r)
	f.reopen()
	again, err := f.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	f.release(again)
}
