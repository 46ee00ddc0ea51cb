package file

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/solver/ref"
)

// BenchmarkCopy copies 50,000 small files onto a base, linked and mounted.
func BenchmarkCopy(b *testing.B) {
	w := newWorld(b)
	source := w.layer(nil, func(dir string) {
		data := make([]byte, 2000)
		for d := range 500 {
			sub := filepath.Join(dir, "src", fmt.Sprint(d))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
			for f := range 100 {
				if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(f)), data, 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	base := w.files(nil, "etc/passwd:root")
	for _, way := range []string{"linked", "mounted"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				w.must(w.do(ways[way], []*ref.Ref{base, source}, chained(2, copyOf("src", "/app", byID(0, 0)))...))
			}
		})
	}
}
