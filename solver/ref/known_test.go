package ref

import (
	"slices"
	"strings"
	"testing"
)

// TestKnownLayers packs parts of a stack in several forms.
func TestKnownLayers(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	base := f.layer(nil, files{"a": "1"})
	made := f.layer(base, files{"b": "2"})
	top := f.layer(made, files{"c": "3"})
	if got := top.KnownLayers(); got != nil {
		t.Errorf("nothing is packed, but known is %v", got)
	}
	gzip, err := top.Layers(ctx, LayerOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	zstd, err := made.Layers(ctx, LayerOptions{Compression: Zstd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	digests := func(layers []Layer) (out []string) {
		for _, l := range layers {
			out = append(out, l.Descriptor.Digest.String())
		}
		return out
	}
	check := func(r *Ref, want ...[]Layer) {
		t.Helper()
		got := r.KnownLayers()
		if len(got) != len(want) {
			t.Fatalf("%d forms, want %d", len(got), len(want))
		}
		for i := range want {
			if !slices.Equal(digests(got[i]), digests(want[i])) {
				t.Errorf("form %d is %v, want %v", i, digests(got[i]), digests(want[i]))
			}
		}
	}
	check(top, gzip, zstd)
	check(base, gzip[:1], zstd[:1])
	check(nil)

	// What came with an image is the same in every form.
	g := f.push(gzip[:1])
	f.release(base, made, top)
	f.left()
	pulled, err := f.FromLayers(ctx, gzip[:1], g, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(pulled, gzip[:1])
	over := f.layer(pulled, files{"d": "4"})
	check(over, gzip[:1])
	last, err := over.Layers(ctx, LayerOptions{Compression: Zstd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(over, last)
	f.release(pulled, over)
}

// TestLayerElsewhere has an image without addresses of its layers come before
// one that has the same layers with addresses.
func TestLayerElsewhere(t *testing.T) {
	f := newFixture(t, hostOptions{})
	layers, g, _ := f.image()
	first, err := f.FromLayers(t.Context(), layers, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	addressed := slices.Clone(layers)
	for i := range addressed[:2] {
		addressed[i].Descriptor.URLs = []string{"https://elsewhere.test/layer"}
	}
	second, err := f.FromLayers(t.Context(), addressed, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := second.Layers(t.Context(), LayerOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range got {
		if (len(l.Descriptor.URLs) == 1) != (i < 2) || l.Descriptor.Digest != layers[i].Descriptor.Digest {
			t.Errorf("layer %d is %+v", i, l.Descriptor)
		}
	}
	f.release(first, second)
}

// TestNotedAddresses has addresses told before and after layers come of which
// nobody says where else they are, as with what a cache knows.
func TestNotedAddresses(t *testing.T) {
	f := newFixture(t, hostOptions{})
	layers, g, _ := f.image()
	addressed := slices.Clone(layers)
	check := func(r *Ref, want []string) {
		t.Helper()
		got, err := r.Layers(t.Context(), LayerOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range got {
			if addr := strings.Join(l.Descriptor.URLs, " "); addr != want[i] {
				t.Errorf("layer %d is at %q, expected %q", i, addr, want[i])
			}
		}
	}
	const base, middle = "https://elsewhere.test/base", "https://elsewhere.test/middle"
	addressed[0].Descriptor.URLs = []string{base}
	if err := f.NoteAddresses(t.Context(), addressed); err != nil {
		t.Fatal(err)
	}
	r, err := f.FromLayers(t.Context(), layers, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(r, []string{base, "", ""})
	if err := f.Keep(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	addressed[1].Descriptor.URLs = []string{middle}
	if err := f.NoteAddresses(t.Context(), addressed); err != nil {
		t.Fatal(err)
	}
	again, err := f.Get(t.Context(), r.ID())
	if err != nil {
		t.Fatal(err)
	}
	check(again, []string{base, middle, ""})
	f.release(r, again)
}
