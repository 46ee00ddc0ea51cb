package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// BenchmarkCollectBlobs measures the removal of 512 blobs, and the longest wait of somebody who writes another.
func BenchmarkCollectBlobs(b *testing.B) {
	h := open(b, b.TempDir())
	defer closeHost(b, h)
	host, ctx := h.Host(), inNamespace(b)
	n := 0
	put := func(ctx context.Context) error {
		n++
		data := fmt.Append(nil, "blob ", n)
		d := ocispecs.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
		return content.WriteBlob(ctx, host.Content, d.Digest.String(), bytes.NewReader(data), d)
	}
	for b.Loop() {
		b.StopTimer()
		lease, err := host.Leases.Create(ctx, leases.WithID(fmt.Sprint("lease-", n)))
		if err != nil {
			b.Fatal(err)
		}
		for range 512 {
			if err := put(leases.WithLease(ctx, lease.ID)); err != nil {
				b.Fatal(err)
			}
		}
		if err := host.Leases.Delete(ctx, lease); err != nil {
			b.Fatal(err)
		}
		held, err := host.Leases.Create(ctx, leases.WithID(fmt.Sprint("held-", n)))
		if err != nil {
			b.Fatal(err)
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
				if err := put(leases.WithLease(ctx, held.ID)); err != nil {
					b.Fatal(err)
				}
				longest = max(longest, time.Since(start))
			}
		}
		b.ReportMetric(float64(longest.Microseconds())/1000, "longest-wait-ms")
	}
}
