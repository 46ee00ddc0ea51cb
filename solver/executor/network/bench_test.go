package network

import (
	"path/filepath"
	"testing"
)

// BenchmarkBridge makes and removes networks; a pool does both behind the
// builds' back.
func BenchmarkBridge(b *testing.B) {
	dir := b.TempDir()
	n, err := Open(b.Context(), Config{Root: filepath.Join(dir, "net"), Mode: ModeBridge, BridgeName: "kilnbench0", LockDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := n.pool.make(b.Context(), "")
		if err == nil {
			err = n.pool.remove(b.Context(), s)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := n.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
