package image_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
)

// BenchmarkUnpack exports and unpacks a layer of 2000 files of 20 kB whose blob
// is there already, by links and by applying the blob.
func BenchmarkUnpack(b *testing.B) {
	for _, linked := range []bool{true, false} {
		b.Run(fmt.Sprintf("linked=%v", linked), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				h := exporttest.NewHost(b)
				cfg := config(h)
				if !linked {
					cfg.UpperDir = nil
				}
				files := exporttest.Files{}
				for i := range 2000 {
					files[fmt.Sprintf("d%d/f%d", i%50, i)] = strings.Repeat(fmt.Sprint(i), 5000)
				}
				src := &export.Source{Ref: h.Ref(nil, files)}
				export := func(attrs map[string]string) {
					in, err := image.New(cfg).Resolve(b.Context(), attrs)
					if err == nil {
						_, err = in.Export(b.Context(), src, target())
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				export(map[string]string{"name": "r.test/a:1"})
				b.StartTimer()
				export(map[string]string{"name": "r.test/a:1", "unpack": "true"})
			}
		})
	}
}

func target() export.Target { return export.Target{Env: &exporttest.Env{}} }
