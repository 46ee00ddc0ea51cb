package sidecar

import (
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
)

// piece is how much of a blob goes over the wire at once. A call costs as much as some hundred KiB.
const piece = 1 << 20

// reader reads ahead for those that read from the start to the end; all others ask as they are asked.
type reader struct {
	content.ReaderAt

	mu sync.Mutex
	// ahead is what was read, at its offset; next is where a reader in order goes on.
	ahead      []byte
	from, next int64
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	// Whoever comes at the same time reads elsewhere, so it does not wait.
	if len(p) >= piece || off < 0 || !r.mu.TryLock() {
		return r.ReaderAt.ReadAt(p, off)
	}
	defer r.mu.Unlock()
	inOrder := off == r.next
	r.next = off + int64(len(p))
	if !inOrder {
		return r.ReaderAt.ReadAt(p, off)
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at < r.from || at >= r.from+int64(len(r.ahead)) {
			if at >= r.Size() {
				return n, io.EOF
			}
			if err := r.fill(at); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], r.ahead[at-r.from:])
	}
	return n, nil
}

// fill reads the next piece.
func (r *reader) fill(at int64) error {
	size := int(min(piece, r.Size()-at))
	if cap(r.ahead) < size {
		r.ahead = make([]byte, size)
	}
	r.from = at
	n, err := r.ReaderAt.ReadAt(r.ahead[:size], at)
	r.ahead = r.ahead[:n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
