package cache

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// TestFullDisk lets the file reach a size it cannot exceed: records stay
// visible, the writer reports and tries again, and all is written once there
// is room.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.db")
	var faults atomic.Int64
	b, err := OpenBolt(path, nil, BoltOptions{Fault: func(error) { faults.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	limit := func(size int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.db.MaxSize = size
	}
	key := func(i int) *solver.Key { return solver.NewKey(digest.FromString(fmt.Sprint(i)), 0, false, nil) }
	limit(64 << 10)
	for i := range 2000 {
		if _, err := b.Save(t.Context(), []*solver.Key{key(i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(t.Context()); err == nil {
		t.Fatal("2000 records fit into 64 KiB")
	}
	if rec, err := b.Lookup(t.Context(), key(1999)); err != nil || rec == nil {
		t.Errorf("lookup: %v, %v", rec, err)
	}
	limit(0)
	if err := b.Flush(t.Context()); err != nil {
		t.Errorf("flush: %v", err)
	}
	if faults.Load() == 0 {
		t.Error("nobody was told")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, err = OpenBolt(path, nil, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range 2000 {
		if rec, err := b.Lookup(context.WithoutCancel(t.Context()), key(i)); err != nil || rec == nil {
			t.Fatalf("record %d: %v, %v", i, rec, err)
		}
	}
}
