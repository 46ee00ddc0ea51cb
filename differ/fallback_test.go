package differ_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// TestRedirectedDirectoriesAreMounted renames a lower directory in an overlay
// that records it as a redirect: its files are not in the upper directory.
func TestRedirectedDirectoriesAreMounted(t *testing.T) {
	redirecting := func(mounts []mount.Mount) []mount.Mount {
		mounts[0].Options = append(mounts[0].Options, "redirect_dir=on")
		return mounts
	}
	l := newLayers(t)
	at(t, l.push(), func(root string) {
		if err := os.MkdirAll(filepath.Join(root, "old/deep"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "old/deep/f"), []byte("moved"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	at(t, redirecting(l.push()), func(root string) {
		if err := unix.Rename(filepath.Join(root, "old"), filepath.Join(root, "new")); err != nil {
			t.Fatal(err)
		}
	})
	layer, err := differ.New(newStore(t), differ.Config{}).CompareLayer(t.Context(), l.mounts(1), redirecting(l.mounts(2)), differ.CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e := layer.Index.Lookup("new/deep/f"); e == nil || e.Size != 5 {
		t.Error("the moved file is missing")
	}
	if e := layer.Index.Lookup("old"); e == nil || e.Kind != layerindex.Whiteout {
		t.Error("the old name is still there")
	}
}

// xorProcessor stands for decryption: it flips every byte.
type xorProcessor struct{ diff.StreamProcessor }

func (p xorProcessor) Read(b []byte) (int, error) {
	n, err := p.StreamProcessor.Read(b)
	for i := range b[:n] {
		b[i] ^= 0x55
	}
	return n, err
}

func (xorProcessor) MediaType() string { return ocispec.MediaTypeImageLayerGzip }

func TestStreamProcessorsAreUsed(t *testing.T) {
	const secret = "application/vnd.kiln.test.xor"
	diff.RegisterProcessor(diff.StaticHandler(secret, func(_ context.Context, s diff.StreamProcessor, _ map[string]typeurl.Any) (diff.StreamProcessor, error) {
		return xorProcessor{s}, nil
	}))
	d := differ.New(newStore(t), differ.Config{})
	l := newLayers(t)
	at(t, l.push(), func(root string) { mutate(t, 12, root, 50) })
	plain, err := d.CompareLayer(t.Context(), nil, l.mounts(1), differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayer})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := d.Compare(t.Context(), nil, l.mounts(1), diff.WithMediaType(secret),
		diff.WithCompressor(func(dest io.Writer, _ string) (io.WriteCloser, error) { return &xorWriter{w: dest}, nil }))
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Apply(t.Context(), sealed, newLayers(t).push())
	if err != nil || got.Digest != plain.DiffID {
		t.Errorf("applied %s, made %s, error %v", got.Digest, plain.DiffID, err)
	}
}

// xorWriter is the inverse, over an uncompressed tar.
type xorWriter struct{ w io.Writer }

func (x *xorWriter) Write(b []byte) (int, error) {
	c := make([]byte, len(b))
	for i := range b {
		c[i] = b[i] ^ 0x55
	}
	return x.w.Write(c)
}

func (x *xorWriter) Close() error { return nil }
