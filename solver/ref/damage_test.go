package ref

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestDamagedBlob: a blob that lies in the store with wrong bytes is fetched
// again, and only that one.
func TestDamagedBlob(t *testing.T) {
	f := newFixture(t, hostOptions{})
	layers, g, want := f.image()
	for _, l := range layers[:2] {
		if err := g.Fetch(f.ctx(t.Context()), l.Descriptor); err != nil {
			t.Fatal(err)
		}
	}
	bad := layers[1].Descriptor
	path := filepath.Join(f.host.dir, "content", "blobs", "sha256", bad.Digest.Encoded())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0xff
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := f.FromLayers(t.Context(), layers, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.files(r); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if g.fetched[layers[0].Descriptor.Digest] != 1 || g.fetched[bad.Digest] != 2 {
		t.Errorf("fetches: %v", g.fetched)
	}
	f.release(r)
}
