package differ_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// foreignTar is one that no comparison makes: a comment in its header, and
// bytes behind its end, which belong to the diff id.
func foreignTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	body := bytes.Repeat([]byte("somebody else's bytes\n"), 100_000)
	header := &tar.Header{Name: "./a//b", Typeflag: tar.TypeReg, Size: int64(len(body)), Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "kept"}}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), bytes.Repeat([]byte{0}, 10_240)...)
}

func writeBlob(t *testing.T, cs content.Store, mediaType string, data []byte, opts ...content.Opt) ocispec.Descriptor {
	t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(t.Context(), cs, desc.Digest.String(), bytes.NewReader(data), desc, opts...); err != nil {
		t.Fatal(err)
	}
	return desc
}

// TestConversionsKeepTheDiffID goes through all pairs of formats in one chain
// and ends with the bytes it began with.
func TestConversionsKeepTheDiffID(t *testing.T) {
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	raw := foreignTar(t)
	want := digest.FromBytes(raw)
	desc := writeBlob(t, cs, ocispec.MediaTypeImageLayer, raw)
	seen := map[digest.Digest]int{}
	for _, to := range []string{
		ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd, images.MediaTypeDockerSchema2LayerGzip,
		ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayer,
	} {
		layer, err := d.ConvertLayer(t.Context(), desc, differ.CompareOptions{MediaType: to})
		if err != nil {
			t.Fatal(err)
		}
		desc = layer.Descriptor
		info, err := cs.Info(t.Context(), desc.Digest)
		if err != nil || layer.DiffID != want || desc.MediaType != to || info.Size != desc.Size {
			t.Fatalf("%s: diff id %s, %+v, %v", to, layer.DiffID, desc, err)
		}
		if to != ocispec.MediaTypeImageLayer && info.Labels[labels.LabelUncompressed] != want.String() {
			t.Errorf("%s: labels %v", to, info.Labels)
		}
		seen[desc.Digest]++
	}
	if desc.Digest != want || len(seen) != 3 {
		t.Errorf("ended with %s; %d different blobs", desc.Digest, len(seen))
	}
}

func TestConversionAgreesWithComparison(t *testing.T) {
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	l := newLayers(t)
	at(t, l.push(), func(root string) {
		mutate(t, 12, root, 60)
		if err := os.WriteFile(filepath.Join(root, "big"), bytes.Repeat([]byte("0123456789abcdef\n"), 200_000), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	level := 1
	gzip := differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayerGzip, Level: &level}
	want, err := d.CompareLayer(t.Context(), nil, l.mounts(1), gzip)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := d.CompareLayer(t.Context(), nil, l.mounts(1), differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayer})
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.ConvertLayer(t.Context(), plain.Descriptor, gzip)
	if err != nil || got.Descriptor.Digest != want.Descriptor.Digest || got.DiffID != want.DiffID {
		t.Errorf("converted to %+v, compared to %+v, %v", got, want, err)
	}
}

func TestConversionFailures(t *testing.T) {
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	raw := foreignTar(t)
	gzip := differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayerGzip}
	packed, err := d.ConvertLayer(t.Context(), writeBlob(t, cs, ocispec.MediaTypeImageLayer, raw), differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayerZstd})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := content.ReadBlob(t.Context(), cs, packed.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	cut := writeBlob(t, cs, ocispec.MediaTypeImageLayerZstd, whole[:len(whole)-9])
	lie := writeBlob(t, cs, ocispec.MediaTypeImageLayer, append(raw, 0), content.WithLabels(map[string]string{labels.LabelUncompressed: digest.FromString("no").String()}))
	gone, stop := context.WithCancelCause(t.Context())
	reason := errors.New("no longer wanted")
	stop(reason)
	for name, c := range map[string]struct {
		ctx  context.Context
		desc ocispec.Descriptor
		opts differ.CompareOptions
		ok   func(error) bool
	}{
		"unknown target": {t.Context(), packed.Descriptor, differ.CompareOptions{MediaType: "text/plain"}, errdefs.IsNotImplemented},
		"unknown source": {t.Context(), ocispec.Descriptor{MediaType: "text/plain", Digest: cut.Digest, Size: cut.Size}, gzip, errdefs.IsNotImplemented},
		"missing":        {t.Context(), ocispec.Descriptor{MediaType: cut.MediaType, Digest: digest.FromString("x"), Size: 1}, gzip, errdefs.IsNotFound},
		"truncated":      {t.Context(), cut, gzip, func(err error) bool { return err != nil }},
		"mislabelled":    {t.Context(), lie, gzip, errdefs.IsDataLoss},
		"cancelled":      {gone, packed.Descriptor, gzip, func(err error) bool { return errors.Is(err, reason) }},
	} {
		if _, err := d.ConvertLayer(c.ctx, c.desc, c.opts); !c.ok(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := cs.ListStatuses(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("uploads left: %v, %v", left, err)
	}
}
