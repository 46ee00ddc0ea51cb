package snapshotter

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// A volatile snapshot is a snapshot like any other while the process lives.
func TestVolatileIsASnapshot(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"a": "1"})
	layer(t, s, "other", "", files{"b": "1"})
	if _, err := s.Merge(ctx, "m", []Span{{Upper: "base"}, {Upper: "other"}}, WithVolatile()); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.View(ctx, "v", "base", WithVolatile())
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1"})
	for _, key := range []string{"m", "v"} {
		if _, err := s.Prepare(ctx, key, ""); !errdefs.IsAlreadyExists(err) {
			t.Errorf("prepare %s again: %v", key, err)
		}
		if _, err := s.Prepare(ctx, key, "", WithVolatile()); !errdefs.IsAlreadyExists(err) {
			t.Errorf("prepare %s again, volatile: %v", key, err)
		}
		if _, err := s.Prepare(ctx, "n", key); !errdefs.IsInvalidArgument(err) {
			t.Errorf("prepare on %s: %v", key, err)
		}
	}
	if err := s.Commit(ctx, "m", "m"); !errdefs.IsAlreadyExists(err) {
		t.Errorf("commit onto itself: %v", err)
	}
	if err := s.Remove(ctx, "other"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove below volatile: %v", err)
	}
	info, err := s.Update(ctx, snapshots.Info{Name: "m", Labels: map[string]string{"x": "y"}}, "labels.x")
	if err != nil || info.Labels["x"] != "y" || info.Parent != "base" || info.Kind != snapshots.KindActive {
		t.Errorf("update: %+v, %v", info, err)
	}
	var walked []string
	if err := s.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		walked = append(walked, i.Name)
		return nil
	}, `labels.x==y`, "kind==view"); err != nil || !slices.Equal(walked, []string{"m", "v"}) {
		t.Errorf("walked %v, %v", walked, err)
	}
	s.rescan.Store(true)
	if err := errors.Join(s.Cleanup(ctx), s.SetIndex(ctx, "m", []byte("i"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, "n", "m"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(ctx, "m"); !errdefs.IsNotFound(err) {
		t.Errorf("stat after commit: %v", err)
	}
	if err := errors.Join(s.Remove(ctx, "v"), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.layout.root, quick)
	if err := s.Remove(ctx, "other"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove below what was volatile: %v", err)
	}
	if got, err := s.Index(ctx, "n"); err != nil || string(got) != "i" {
		t.Errorf("index %q, %v", got, err)
	}
	if mounts, err = s.View(ctx, "v", "n"); err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1", "b": "1"})
}

// The number of a volatile snapshot that was committed is never given out
// again, although the database did not give it out.
func TestVolatileNumbersAreRecorded(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	for range 5 {
		if _, err := s.Prepare(ctx, "k", "", WithVolatile()); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(ctx, "k"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Prepare(ctx, "k", "", WithVolatile()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Commit(ctx, "n", "k"), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.layout.root, quick)
	committed, err := s.UpperDir(ctx, "n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(ctx, "k", ""); err != nil {
		t.Fatal(err)
	}
	if upper, err := s.UpperDir(ctx, "k"); err != nil || upper <= committed {
		t.Errorf("%s after %s, %v", upper, committed, err)
	}
}

// A commit whose transaction fails leaves the volatile snapshot as it was.
func TestVolatileSurvivesFailedCommit(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"a": "1"})
	if _, err := s.Prepare(ctx, "k", "base", WithVolatile()); err != nil {
		t.Fatal(err)
	}
	// Found only when the record is being written.
	if err := s.Commit(ctx, "n", "k", snapshots.WithParent("x")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("commit with another parent: %v", err)
	}
	s.store.volatiles.setSealing("k", true)
	for name, err := range map[string]error{"commit": s.Commit(ctx, "n", "k"), "remove": s.Remove(ctx, "k")} {
		if !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s during a commit: %v", name, err)
		}
	}
	s.store.volatiles.setSealing("k", false)
	if err := s.Commit(ctx, "n", "k"); err != nil {
		t.Errorf("second attempt: %v", err)
	}
}
