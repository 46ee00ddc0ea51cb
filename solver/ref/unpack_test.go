package ref

import (
	"maps"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
)

// TestUnpack starts from an unpacked image after all refs are gone, the way a
// container does, and builds on it again.
func TestUnpack(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		want := files{"a": "1", "b/c": "2", "e": "3"}
		r := f.layered(want, 3)
		extra := f.layer(nil, files{"x": "y"})
		m, err := f.Merge(t.Context(), []*Ref{r, extra})
		if err != nil {
			t.Fatal(err)
		}
		want["x"] = "y"
		digests := f.digest(m, "/", ContentOptions{})
		layers, err := m.Layers(t.Context(), LayerOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Unpack(t.Context(), layers); err == nil {
			t.Error("unpacked without a lease")
		}
		ctx := f.ctx(t.Context())
		l, err := f.cfg.Leases.Create(ctx, leases.WithID("image"))
		if err != nil {
			t.Fatal(err)
		}
		var top string
		for range 2 { // again is no work
			if top, err = m.Unpack(leases.WithLease(ctx, l.ID), layers); err != nil {
				t.Fatal(err)
			}
		}
		g := f.push(layers)
		f.release(r, extra, m)
		f.left()
		if info, err := f.cfg.Snapshotter.Stat(ctx, top); err != nil || info.Parent == "" {
			t.Fatalf("%+v, %v", info, err)
		}
		r, err = f.FromLayers(ctx, layers, g, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.files(r); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := f.digest(r, "/", ContentOptions{}); got != digests {
			t.Errorf("digest %s, want %s", got, digests)
		}
		run := f.layer(r, files{"run": "1", "a": "-"})
		again, err := run.Layers(ctx, LayerOptions{Compression: Zstd}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, old := range layers {
			if again[i].Descriptor.Digest != old.Descriptor.Digest {
				t.Errorf("layer %d changed", i)
			}
		}
		f.release(run, r)
		if err := f.cfg.Leases.Delete(ctx, l); err != nil {
			t.Fatal(err)
		}
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

// TestUnpackWithoutIndex takes away what Unpack knew about a layer: the empty
// directory of an alias must not be believed.
func TestUnpackWithoutIndex(t *testing.T) {
	f := newFixture(t, hostOptions{})
	r := f.layered(files{"a": "1", "b": "2", "c": "3"}, 3)
	layers, err := r.Layers(t.Context(), LayerOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := f.ctx(t.Context())
	l, err := f.cfg.Leases.Create(ctx, leases.WithID("image"))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Chain() {
		if err := f.cfg.Layers.SetIndex(ctx, x.Info().Snapshot, []byte("damaged")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Unpack(leases.WithLease(ctx, l.ID), layers); err != nil {
		t.Fatal(err)
	}
	want := f.digest(r, "/", ContentOptions{})
	image, err := f.FromLayers(ctx, layers, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.digest(image, "/", ContentOptions{}); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	f.release(r, image)
}
