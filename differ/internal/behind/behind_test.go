package behind

import (
	"bytes"
	"errors"
	"testing"
)

// failing takes some bytes and then none.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestWriter checks order, completeness and that errors come back.
func TestWriter(t *testing.T) {
	var got, want bytes.Buffer
	w := New(&got)
	for i := range 3000 {
		piece := bytes.Repeat([]byte{byte(i)}, i)
		want.Write(piece)
		if n, err := w.Write(piece); n != i || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes of %d, %v", got.Len(), want.Len(), err)
	}
	bad := New(&failing{left: 3 * bufferSize})
	var err error
	for range 100 {
		if _, err = bad.Write(make([]byte, bufferSize)); err != nil {
			break
		}
	}
	if !errors.Is(err, errFull) || !errors.Is(bad.Close(), errFull) {
		t.Errorf("got %v", err)
	}
}
