package snapshotter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/safebolt"
)

// afterPowerLoss returns the names that the database has in another boot, if
// the power fails now.
func afterPowerLoss(t *testing.T, s *Snapshotter) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{dbName, dbName + ".safe"} {
		data, err := os.ReadFile(filepath.Join(s.layout.root, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	later, err := openStore(t.Context(), filepath.Join(dir, dbName), &quick, safebolt.Options{BootID: "next boot"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	err = later.view(func(tx *storeTx) error {
		return tx.snapshots.ForEach(func(k, _ []byte) error {
			names[string(k)] = true
			return nil
		})
	})
	if err := errors.Join(err, later.close()); err != nil {
		t.Fatal(err)
	}
	return names
}

// With deferred flushes a power failure brings back what was synced, and never
// a name without its files: the layer is flushed before it can be named, the
// name is gone for good before the layer is.
func TestDeferredCommitsAndPowerLoss(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), Config{DeferSync: true})
	flushes := 0
	real := s.disk.syncfs
	s.disk.syncfs = func(fd int) error {
		flushes++
		if got := afterPowerLoss(t, s); got["synced"] != (flushes > 1) {
			t.Errorf("flush %d: named are %v", flushes, got)
		}
		return real(fd)
	}
	layer(t, s, "synced", "", files{"a": "1"})
	if flushes != 0 || len(afterPowerLoss(t, s)) != 0 {
		t.Errorf("%d flushes for a commit, named are %v", flushes, afterPowerLoss(t, s))
	}
	if err := s.Sync(ctx); err != nil || flushes != 1 {
		t.Fatalf("%d flushes, %v", flushes, err)
	}
	layer(t, s, "lost", "synced", files{"b": "1"})
	if got := afterPowerLoss(t, s); !got["synced"] || got["lost"] {
		t.Errorf("named are %v", got)
	}
	for _, name := range []string{"lost", "synced"} {
		if err := s.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
		if got := afterPowerLoss(t, s); got[name] {
			t.Errorf("%s is removed and named: %v", name, got)
		}
	}
	if flushes != 2 {
		t.Errorf("%d flushes, two removals after one commit need one", flushes)
	}
	// Nothing to do, nothing done.
	if err := s.Sync(ctx); err != nil || flushes != 2 {
		t.Errorf("%d flushes, %v", flushes, err)
	}
}

// What the disk refused is never confirmed later: the kernel tells once.
func TestDeferredDiskFailureIsFinal(t *testing.T) {
	s := open(t, t.TempDir(), Config{DeferSync: true})
	layer(t, s, "good", "", files{"a": "1"})
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	layer(t, s, "bad", "good", files{"b": "1"})
	real := s.disk.syncfs
	s.disk.syncfs = func(int) error { return unix.EIO }
	for range 2 {
		if err := s.Sync(context.WithoutCancel(t.Context())); !errdefs.IsDataLoss(err) || !errors.Is(err, unix.EIO) {
			t.Errorf("sync of a disk that fails: %v", err)
		}
		s.disk.syncfs = real
	}
	if got := afterPowerLoss(t, s); !got["good"] || got["bad"] {
		t.Errorf("named are %v", got)
	}
}
