package differ_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/stargz"
)

// checkEstargz compares a layer's description with its bytes.
func checkEstargz(t *testing.T, cs content.Store, l differ.Layer) {
	t.Helper()
	blob, err := content.ReadBlob(t.Context(), cs, l.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	info, err := cs.Info(t.Context(), l.Descriptor.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if want := digest.FromBytes(whole); l.DiffID != want || info.Labels[labels.LabelUncompressed] != want.String() {
		t.Errorf("diff id %s, label %s, want %s", l.DiffID, info.Labels[labels.LabelUncompressed], want)
	}
	a := l.Descriptor.Annotations
	if a[stargz.AnnotationSize] != strconv.Itoa(len(whole)) || digest.Digest(a[stargz.AnnotationTOC]).Validate() != nil {
		t.Errorf("annotations %v, %d bytes", a, len(whole))
	}
}

// TestEstargz checks layers that are compared and such that are converted, from
// a tar and from an eStargz layer again.
func TestEstargz(t *testing.T) {
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	upper := t.TempDir()
	if err := os.WriteFile(filepath.Join(upper, "f"), bytes.Repeat([]byte("body"), 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := d.CompareLayer(t.Context(), nil, []mount.Mount{{Type: "bind", Source: upper, Options: []string{"rbind"}}},
		differ.CompareOptions{Estargz: true})
	if err != nil {
		t.Fatal(err)
	}
	checkEstargz(t, cs, made)
	raw := writeBlob(t, cs, ocispec.MediaTypeImageLayer, foreignTar(t))
	first, err := d.ConvertLayer(t.Context(), raw, differ.CompareOptions{Estargz: true})
	if err != nil {
		t.Fatal(err)
	}
	checkEstargz(t, cs, first)
	level := 9
	second, err := d.ConvertLayer(t.Context(), first.Descriptor, differ.CompareOptions{Estargz: true, Level: &level})
	if err != nil {
		t.Fatal(err)
	}
	checkEstargz(t, cs, second)
	again, err := d.ConvertLayer(t.Context(), second.Descriptor, differ.CompareOptions{Estargz: true})
	if err != nil || again.Descriptor.Digest != first.Descriptor.Digest {
		t.Errorf("through another level: %s, want %s, %v", again.Descriptor.Digest, first.Descriptor.Digest, err)
	}
	if _, err := d.ConvertLayer(t.Context(), raw, differ.CompareOptions{Estargz: true, MediaType: ocispec.MediaTypeImageLayerZstd}); err == nil {
		t.Error("an estargz layer with zstd")
	}
}
