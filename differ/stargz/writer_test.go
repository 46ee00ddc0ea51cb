package stargz

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/differ/compress"
)

// sample is a tar with a directory, small files and one of several chunks.
func sample(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	rng := rand.New(rand.NewPCG(1, 2))
	put := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	put(&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	for i, n := range []int{0, 1, 511, 512, 70_000, 9 << 20} {
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(rng.Uint32() & 0x1f)
		}
		put(&tar.Header{Name: fmt.Sprintf("d/%d", i), Mode: 0o644}, data)
	}
	put(&tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d/1"}, nil)
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// layer writes a tar in pieces.
func layer(t *testing.T, data []byte, level *int) ([]byte, Result) {
	t.Helper()
	var out bytes.Buffer
	w, err := New(&out, compress.Options{Level: level})
	if err != nil {
		t.Fatal(err)
	}
	for part := data; len(part) > 0; {
		n := min(len(part), 100_003)
		if _, err := w.Write(part[:n]); err != nil {
			t.Fatal(err)
		}
		part = part[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), w.Result()
}

// TestWriter checks a layer with the library's reader and with a plain gunzip.
func TestWriter(t *testing.T) {
	data := sample(t)
	blob, result := layer(t, data, nil)
	zr, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if result.DiffID != digest.FromBytes(whole) || result.Size != int64(len(whole)) {
		t.Errorf("got %+v, want %s of %d bytes", result, digest.FromBytes(whole), len(whole))
	}
	if !bytes.HasPrefix(whole, data) {
		t.Error("the tar is not what was written")
	}
	r, err := estargz.Open(io.NewSectionReader(bytes.NewReader(blob), 0, int64(len(blob))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.VerifyTOC(result.TOC); err != nil || r.TOCDigest() != result.TOC {
		t.Errorf("table: %v", err)
	}
	f, err := r.OpenFile("d/5")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || len(got) != 9<<20 || !bytes.Contains(data, got) {
		t.Errorf("a file of several chunks: %d bytes, %v", len(got), err)
	}
	n, err := Payload(bytes.NewReader(blob), int64(len(blob)))
	if err != nil {
		t.Fatal(err)
	}
	if zr, err = gzip.NewReader(bytes.NewReader(blob[:n])); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(zr); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the payload is not the tar: %v", err)
	}
	if n, err := Payload(bytes.NewReader(data), int64(len(data))); n != int64(len(data)) || err != nil {
		t.Errorf("payload of a tar: %d, %v", n, err)
	}
}

// TestSame checks that neither the number of cores nor another run changes a
// byte, and that levels do.
func TestSame(t *testing.T) {
	data := sample(t)
	want, _ := layer(t, data, nil)
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	got, _ := layer(t, data, nil)
	if !bytes.Equal(got, want) {
		t.Error("one core makes other bytes")
	}
	zero := 0
	if stored, _ := layer(t, data, &zero); len(stored) <= len(want) {
		t.Errorf("level 0 makes %d bytes, the default %d", len(stored), len(want))
	}
	ten := 10
	if _, err := New(io.Discard, compress.Options{Level: &ten}); err == nil {
		t.Error("there is no level 10")
	}
}

// TestRefused checks that what cannot be a layer ends the writer.
func TestRefused(t *testing.T) {
	var bad bytes.Buffer
	tw := tar.NewWriter(&bad)
	if err := tw.WriteHeader(&tar.Header{Name: estargz.TOCTarName}); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"table": bad.Bytes(), "noise": bytes.Repeat([]byte("x"), 4<<20)} {
		w, err := New(io.Discard, compress.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(data)
		if err := w.Close(); err == nil {
			t.Errorf("%s became a layer", name)
		}
	}
}
