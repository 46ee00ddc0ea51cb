package linked

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// part is a run of a blob's bytes that comes from one file.
type part struct {
	// begin and end are offsets in the blob.
	begin, end int64
	// link is the number of the file, -1 for literal bytes.
	link int
	// at is the offset of begin in the file.
	at int64
}

// reader reads a linked blob. It keeps the file of the last link open, which
// suits those who read from front to back.
type reader struct {
	s     *Store
	dgst  digest.Digest
	dir   string
	size  int64
	parts []part
	bytes *os.File

	mu     sync.Mutex
	link   int
	file   *os.File
	closed bool
}

var _ content.ReaderAt = (*reader)(nil)

// open returns a reader of a linked blob.
func (s *Store) open(dgst digest.Digest) (_ *reader, err error) {
	s.pin(dgst)
	defer func() {
		if err != nil {
			s.unpin(dgst)
		}
	}()
	r := &reader{s: s, dgst: dgst, dir: s.folder(dgst), link: -1}
	t, err := readTable(filepath.Join(r.dir, tableName))
	if err != nil {
		return nil, missing(dgst, err)
	}
	if r.bytes, err = os.Open(filepath.Join(r.dir, bytesName)); err != nil {
		return nil, missing(dgst, err)
	}
	r.size = t.size
	var literal int64
	add := func(link int, n, at int64) {
		if n > 0 {
			begin := int64(0)
			if len(r.parts) > 0 {
				begin = r.parts[len(r.parts)-1].end
			}
			r.parts = append(r.parts, part{begin, begin + n, link, at})
		}
	}
	for i, p := range t.pairs {
		add(-1, p.literal, literal)
		literal += p.literal
		add(i, p.link, 0)
	}
	add(-1, t.rest, literal)
	return r, nil
}

// Size implements content.ReaderAt.
func (r *reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read blob %s at %d: %w", r.dgst, off, errdefs.ErrInvalidArgument)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i := sort.Search(len(r.parts), func(i int) bool { return r.parts[i].end > off }); n < len(p); i++ {
		if i >= len(r.parts) {
			return n, io.EOF
		}
		part := r.parts[i]
		f, err := r.open(part.link)
		if err != nil {
			return n, fmt.Errorf("read blob %s: %w", r.dgst, err)
		}
		want := p[n:min(int64(len(p)), int64(n)+part.end-off)]
		m, err := f.ReadAt(want, part.at+off-part.begin)
		n, off = n+m, off+int64(m)
		if m < len(want) {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%s is shorter than it was: %w", f.Name(), errdefs.ErrDataLoss)
			}
			return n, fmt.Errorf("read blob %s: %w", r.dgst, err)
		}
	}
	return n, nil
}

// open returns the file of a part. mu is held.
func (r *reader) open(link int) (*os.File, error) {
	switch {
	case r.closed:
		return nil, os.ErrClosed
	case link < 0:
		return r.bytes, nil
	case link == r.link:
		return r.file, nil
	}
	f, err := os.Open(filepath.Join(r.dir, strconv.Itoa(link)))
	if err != nil {
		return nil, err
	}
	if r.file != nil {
		_ = r.file.Close() // opened for reading: nothing is lost
	}
	r.link, r.file = link, f
	return f, nil
}

// Close implements io.Closer. Idempotent.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	err := r.bytes.Close()
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	r.s.unpin(r.dgst)
	return err
}
