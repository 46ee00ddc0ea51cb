package differ_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/differ"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
		for b.Loop() {
			if _, err := d.CompareLayer(b.Context(), l.mounts(1), l.mounts(2), opts); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			x, err := differ.IndexDir(b.Context(), l.dirs[0])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(x.Encode()))/float64(x.Len()), "bytes/entry")
		}
	})
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			to := newLayers(b)
			to.push()
			if _, err := d.ApplyLayer(b.Context(), layer.Descriptor, to.push()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
