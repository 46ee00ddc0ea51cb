package image_test

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
)

// TestDurable counts how often exports wait for the disk: whenever they changed
// something, or something of theirs was changed behind their backs, and only
// then.
func TestDurable(t *testing.T) {
	h := exporttest.NewHost(t)
	cfg := config(h)
	waits := 0
	cfg.Durable = func(context.Context) error {
		waits++
		return nil
	}
	exporter := image.New(cfg)
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"})}
	var last *export.Response
	build := func(attrs map[string]string) {
		t.Helper()
		in, err := exporter.Resolve(t.Context(), attrs)
		if err != nil {
			t.Fatal(err)
		}
		if last, err = in.Export(t.Context(), src, export.Target{Env: &exporttest.Env{}}); err != nil {
			t.Fatal(err)
		}
		last.Release(t.Context())
	}
	plain := map[string]string{"name": "r.test/a:1"}
	unpacked := map[string]string{"name": "r.test/a:1", "unpack": "true"}
	dated := map[string]string{"name": "r.test/a:1", "source-date-epoch": "1700000000"}
	for _, step := range []struct {
		name   string
		before func()
		attrs  map[string]string
		waits  int
	}{
		{"new", nil, plain, 1},
		{"again", nil, plain, 0},
		{"another name", nil, map[string]string{"name": "r.test/a:2"}, 1},
		{"without names", nil, nil, 1},
		{"first name, as before", nil, plain, 1},
		{"unpacked", nil, unpacked, 1},
		{"unpacked again", nil, unpacked, 0},
		{"removed", func() { must(t, h.Images.Delete(h.Context(), "r.test/a:1")) }, unpacked, 1},
		{"somebody's tag", func() {
			other := *last.Descriptor
			other.Size++
			_, err := h.Images.Update(h.Context(), images.Image{Name: "r.test/a:1", Target: other}, "target")
			must(t, err)
		}, unpacked, 1},
		{"a blob lost", func() { must(t, h.Content.Delete(h.Context(), last.Descriptor.Digest)) }, unpacked, 1},
		{"dated", nil, dated, 1},
		{"dated again", nil, dated, 0},
		{"dated, removed", func() { must(t, h.Images.Delete(h.Context(), "r.test/a:1")) }, dated, 1},
	} {
		if step.before != nil {
			step.before()
		}
		waits = 0
		build(step.attrs)
		if waits != step.waits {
			t.Errorf("%s: the export waited %d times for the disk, want %d", step.name, waits, step.waits)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
