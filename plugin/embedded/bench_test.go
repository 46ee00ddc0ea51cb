package embedded_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/kilnbuild/kiln/plugin/embedded"
)

// BenchmarkSnapshot measures one Prepare and Commit under a lease, alone and followed by a Sync.
func BenchmarkSnapshot(b *testing.B) {
	for _, variant := range []struct{ sync, backend bool }{{false, true}, {true, true}, {false, false}, {true, false}} {
		sync := variant.sync
		b.Run(fmt.Sprintf("sync=%v/synced-backend=%v", sync, variant.backend), func(b *testing.B) {
			cfg := config(b.TempDir())
			cfg.Snapshotter.NoMetadataSync, cfg.Snapshotter.NoSyncOnCommit = !variant.backend, !variant.backend
			h, err := embedded.Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer closeHost(b, h)
			host, ctx := h.Host(), inNamespace(b)
			lease, err := host.Leases.Create(ctx, leases.WithID("bench"), leases.WithExpiration(time.Hour))
			if err != nil {
				b.Fatal(err)
			}
			ctx = leases.WithLease(ctx, lease.ID)
			n := 0
			for b.Loop() {
				n++
				key := fmt.Sprint("key-", n)
				if _, err := host.Snapshotter.Prepare(ctx, key, ""); err != nil {
					b.Fatal(err)
				}
				if err := host.Snapshotter.Commit(ctx, fmt.Sprint("name-", n), key); err != nil {
					b.Fatal(err)
				}
				if sync {
					if err := host.Sync(ctx); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkLease measures creating and deleting a lease.
func BenchmarkLease(b *testing.B) {
	h := open(b, b.TempDir())
	defer closeHost(b, h)
	host, ctx := h.Host(), inNamespace(b)
	for b.Loop() {
		lease, err := host.Leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
		if err != nil {
			b.Fatal(err)
		}
		if err := host.Leases.Delete(ctx, lease); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen measures opening a host that holds many images.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 5000} {
		b.Run(fmt.Sprintf("images=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			h := open(b, dir)
			for i := range n {
				img := imageNamed(fmt.Sprint("image-", i))
				if _, err := h.Host().Images.Create(inNamespace(b), img); err != nil {
					b.Fatal(err)
				}
			}
			closeHost(b, h)
			for b.Loop() {
				closeHost(b, open(b, dir))
			}
		})
	}
}

// BenchmarkCollect measures the removal of 512 of 10,000 snapshots, and the longest wait of a writer beside it.
func BenchmarkCollect(b *testing.B) {
	h := open(b, b.TempDir())
	defer closeHost(b, h)
	host, ctx := h.Host(), inNamespace(b)
	n := 0
	step := func() error {
		n++
		lease, err := host.Leases.Create(ctx, leases.WithID(fmt.Sprint("lease-", n)))
		if err != nil {
			return err
		}
		held := leases.WithLease(ctx, lease.ID)
		if _, err := host.Snapshotter.Prepare(held, fmt.Sprint("key-", n), ""); err != nil {
			return err
		}
		return host.Snapshotter.Commit(held, fmt.Sprint("name-", n), fmt.Sprint("key-", n))
	}
	oldest := 1
	for b.Loop() {
		b.StopTimer()
		for n < oldest+10_000 {
			if err := step(); err != nil {
				b.Fatal(err)
			}
		}
		for range 512 {
			if err := host.Leases.Delete(ctx, leases.Lease{ID: fmt.Sprint("lease-", oldest)}); err != nil {
				b.Fatal(err)
			}
			oldest++
		}
		b.StartTimer()
		done := make(chan error, 1)
		go func() { done <- host.GarbageCollect(ctx) }()
		longest := time.Duration(0)
		for running := true; running; {
			select {
			case err := <-done:
				if err != nil {
					b.Fatal(err)
				}
				running = false
			default:
				start := time.Now()
				if err := step(); err != nil {
					b.Fatal(err)
				}
				longest = max(longest, time.Since(start))
			}
		}
		b.ReportMetric(float64(longest.Microseconds())/1000, "longest-wait-ms")
	}
}
