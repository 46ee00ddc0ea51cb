package differ_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/kilnbuild/kiln/differ"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// manyFiles makes n small files in directories of a hundred, and one of 64 MiB.
func manyFiles(b *testing.B, root string, n int) {
	b.Helper()
	data := make([]byte, 2000)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("d%03d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		copy(data, fmt.Sprint(i))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "big"), make([]byte, 64<<20), 0o644); err != nil {
		b.Fatal(err)
	}
}

// cpu reports the processor time of an operation, which other load on the
// machine does not change as much as wall time.
func cpu(b *testing.B) func() {
	now := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := now()
	return func() { b.ReportMetric(float64(now()-start)/1e6/float64(b.N), "cpu-ms/op") }
}

// BenchmarkLayer measures the three ways a layer's bytes pass, uncompressed.
func BenchmarkLayer(b *testing.B) {
	l := newLayers(b)
	at(b, l.push(), func(string) {})
	at(b, l.push(), func(root string) { manyFiles(b, root, 20_000) })
	d := differ.New(newStore(b), differ.Config{})
	opts := differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayer}
	layer, err := d.CompareLayer(b.Context(), l.mounts(1), l.mounts(2), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("compare", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			if _, err := d.CompareLayer(b.Context(), l.mounts(1), l.mounts(2), opts); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("index", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			x, err := differ.IndexDir(b.Context(), l.dirs[0])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(x.Encode()))/float64(x.Len()), "bytes/entry")
		}
	})
	peer := walking.NewWalkingDiff(newStore(b))
	b.Run("compare-containerd", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			if _, err := peer.Compare(b.Context(), l.mounts(1), l.mounts(2), diff.WithMediaType(opts.MediaType)); err != nil {
				b.Fatal(err)
			}
		}
	})
	cs := newStore(b)
	if layer, err = differ.New(cs, differ.Config{}).CompareLayer(b.Context(), l.mounts(1), l.mounts(2), opts); err != nil {
		b.Fatal(err)
	}
	applyPeer := apply.NewFileSystemApplier(cs)
	b.Run("apply-containerd", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			to := newLayers(b)
			to.push()
			if _, err := applyPeer.Apply(b.Context(), layer.Descriptor, to.push()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			to := newLayers(b)
			to.push()
			if _, err := d.ApplyLayer(b.Context(), layer.Descriptor, to.push()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
