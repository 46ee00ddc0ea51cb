package sidecar

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/containerd/containerd/v2/core/content"
)

// counted is a blob that counts the calls for it.
type counted struct {
	*bytes.Reader
	calls int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.calls++
	return c.Reader.ReadAt(p, off)
}

func (c *counted) Close() error { return nil }

// TestReader reads a blob in order, as pushes do, and in no order.
func TestReader(t *testing.T) {
	blob := make([]byte, 3*piece+1234)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(blob)
	c := &counted{Reader: bytes.NewReader(blob)}
	got, err := io.ReadAll(content.NewReader(&reader{ReaderAt: c}))
	if err != nil || !bytes.Equal(got, blob) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if c.calls > 5 {
		t.Errorf("%d calls for %d pieces", c.calls, 4)
	}
	c.calls = 0
	r := &reader{ReaderAt: c}
	at := rand.New(random)
	for range 100 {
		off, p := at.Int64N(int64(len(blob))), make([]byte, at.IntN(piece/2))
		n, err := r.ReadAt(p, off)
		if want := min(len(p), len(blob)-int(off)); n != want || (err != nil) != (n < len(p)) || !bytes.Equal(p[:n], blob[off:int(off)+n]) {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
	}
	if c.calls > 100 {
		t.Errorf("%d calls for 100 reads", c.calls)
	}
	if err := iotest.TestReader(io.NewSectionReader(&reader{ReaderAt: c}, 0, 5000), blob[:5000]); err != nil {
		t.Error(err)
	}
}
