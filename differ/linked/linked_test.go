package linked_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ/linked"
)

// open wraps a local store below root.
func open(t *testing.T, root string) *linked.Store {
	t.Helper()
	files, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := linked.Wrap(files, filepath.Join(root, "linked"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise returns n bytes that depend on seed.
func noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// write makes a blob of literal bytes and files by turns and returns what it
// should consist of.
func write(t *testing.T, s *linked.Store, dir string, sizes ...int) (ocispec.Descriptor, []byte) {
	t.Helper()
	w, err := s.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var want []byte
	for i, size := range sizes {
		data := noise(uint64(size), size)
		want = append(want, data...)
		if i%2 == 1 {
			f, err := os.CreateTemp(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(data); err != nil {
				t.Fatal(err)
			}
			w.Link(int(f.Fd()), int64(size))
			f.Close()
		}
		// In pieces that respect no border.
		for part := data; len(part) > 0; {
			n := min(len(part), 10_007)
			if _, err := w.Write(part[:n]); err != nil {
				t.Fatal(err)
			}
			part = part[n:]
		}
	}
	dgst, size, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if dgst != digest.FromBytes(want) || size != int64(len(want)) {
		t.Fatalf("got %s of %d bytes, want %s of %d", dgst, size, digest.FromBytes(want), len(want))
	}
	return ocispec.Descriptor{Digest: dgst, Size: size}, want
}

func read(ctx context.Context, s content.Store, desc ocispec.Descriptor) ([]byte, error) {
	return content.ReadBlob(ctx, s, desc)
}

// TestBlob checks that a blob reads as what it was made of, from front to back
// and at any place, after the files it shares and the process are gone.
func TestBlob(t *testing.T) {
	root, files := t.TempDir(), t.TempDir()
	s := open(t, root)
	for _, sizes := range [][]int{
		{}, {0}, {1}, {512, 100_000, 512, 40_000, 1024}, {0, 1 << 20}, {512, 10, 512, 1 << 16}, {700_000, 70_000, 0, 80_000},
	} {
		desc, want := write(t, s, files, sizes...)
		ra, err := s.ReaderAt(t.Context(), desc)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for range 50 {
			off := rng.IntN(len(want) + 1)
			buf := make([]byte, rng.IntN(200_000))
			n, err := ra.ReadAt(buf, int64(off))
			if !bytes.Equal(buf[:n], want[off:off+n]) || n < len(buf) != errors.Is(err, io.EOF) || n < len(buf) && off+n != len(want) {
				t.Fatalf("%v: read %d of %d at %d of %d: %v", sizes, n, len(buf), off, len(want), err)
			}
		}
		ra.Close()
	}
	desc, want := write(t, s, files, 512, 100_000, 512, 33_000, 1024)
	if err := os.RemoveAll(files); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := open(t, root)
	if got, err := read(t.Context(), again, desc); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("after a restart: %d bytes, %v", len(got), err)
	}
	info, err := again.Info(t.Context(), desc.Digest)
	if err != nil || info.Size != desc.Size {
		t.Errorf("info %+v, %v", info, err)
	}
}

// TestShares checks that the bytes of large files are on the disk once.
func TestShares(t *testing.T) {
	root, files := t.TempDir(), t.TempDir()
	s := open(t, root)
	desc, _ := write(t, s, files, 512, 1<<20, 1024)
	folder := filepath.Join(root, "linked", "sha256", desc.Digest.Encoded())
	names, err := filepath.Glob(filepath.Join(files, "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	a, err := os.Stat(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(filepath.Join(folder, "0"))
	if err != nil || !os.SameFile(a, b) {
		t.Errorf("the file is not shared: %v", err)
	}
	if own, err := os.Stat(filepath.Join(folder, "bytes")); err != nil || own.Size() != 1536 {
		t.Errorf("literal bytes: %v, %v", own, err)
	}
}

// TestVisible checks that nobody sees a blob before it is whole, that two
// writers of one blob do not disturb each other, and what a crash leaves.
func TestVisible(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	w, err := s.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	count := func(s *linked.Store) (n int) {
		if err := s.Walk(t.Context(), func(content.Info) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(s); n != 0 {
		t.Errorf("%d blobs before Commit", n)
	}
	write(t, s, t.TempDir(), 100, 40_000)
	write(t, s, t.TempDir(), 100, 40_000)
	if n := count(s); n != 1 {
		t.Errorf("%d blobs, want 1", n)
	}
	again := open(t, root) // the first writer was never closed
	if left, _ := os.ReadDir(filepath.Join(root, "linked", "tmp")); len(left) != 0 || count(again) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDelete checks that a blob goes, but not under those who use it.
func TestDelete(t *testing.T) {
	s := open(t, t.TempDir())
	desc, want := write(t, s, t.TempDir(), 100, 40_000)
	ra, err := s.ReaderAt(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), desc.Digest); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), s, desc); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a blob went while it was read: %v", err)
	}
	ra.Close()
	if err := s.Delete(t.Context(), desc.Digest); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"info": func() error { _, err := s.Info(t.Context(), desc.Digest); return err }(),
		"read": func() error { _, err := s.ReaderAt(t.Context(), desc); return err }(),
		"odd":  func() error { _, err := s.Info(t.Context(), "../../x"); return err }(),
	} {
		if err == nil || name != "odd" && !errdefs.IsNotFound(err) {
			t.Errorf("%s of a blob that is gone: %v", name, err)
		}
	}
}

// TestShrunk checks that a file that is not what it was is an error, not a
// shorter blob.
func TestShrunk(t *testing.T) {
	root, files := t.TempDir(), t.TempDir()
	s := open(t, root)
	desc, _ := write(t, s, files, 100, 40_000, 100)
	if err := os.Truncate(filepath.Join(root, "linked", "sha256", desc.Digest.Encoded(), "0"), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t.Context(), s, desc); !errdefs.IsDataLoss(err) {
		t.Errorf("got %v, want data loss", err)
	}
	w, err := s.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f, err := os.Create(filepath.Join(files, "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !w.Link(int(f.Fd()), 50_000) {
		t.Fatal("no link")
	}
	if _, err := w.Write(make([]byte, 49_999)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Commit(t.Context()); !errdefs.IsDataLoss(err) {
		t.Errorf("a file that is short: %v", err)
	}
}
