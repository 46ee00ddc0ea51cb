package linked

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/differ/internal/behind"
)

const (
	// minLink is the size from which on a file is linked: making a name costs
	// about as much as copying this many bytes.
	minLink = 32 << 10
	// literalBuffer joins headers and small files.
	literalBuffer = 256 << 10
)

// Writer makes one linked blob.
type Writer struct {
	s   *Store
	dir string

	sum    hash.Hash
	hasher *behind.Writer
	file   *os.File
	buf    *bufio.Writer

	table table
	// literal counts literal bytes since the last link; skip is how many of
	// the coming bytes are behind a link.
	literal, skip int64

	// pinned is the digest that was committed.
	pinned digest.Digest
}

// New starts a blob. The Writer must be closed.
func (s *Store) New(_ context.Context) (*Writer, error) {
	dir := filepath.Join(s.root, tmpName, temporary())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start linked blob: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, bytesName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start linked blob: %w", err), os.RemoveAll(dir))
	}
	sum := sha256.New()
	return &Writer{
		s: s, dir: dir, sum: sum, hasher: behind.New(sum),
		file: f, buf: bufio.NewWriterSize(f, literalBuffer),
	}, nil
}

// temporary is a name that nobody else uses.
func temporary() string { return rand.Text() }

// Link takes the next size bytes from the open file fd, which has exactly these
// and never changes; they are to be written all the same, to be hashed. It
// reports false if the file is not worth a link or cannot have one, and then
// they are stored.
func (w *Writer) Link(fd int, size int64) bool {
	if size < minLink || w.skip > 0 {
		return false
	}
	name := filepath.Join(w.dir, strconv.Itoa(len(w.table.pairs)))
	// Through the handle: what was opened is what is linked, whatever happens
	// to its path. Another file system, too many names and file systems
	// without links all mean the same: copy.
	if err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return false
	}
	w.table.pairs = append(w.table.pairs, pair{literal: w.literal, link: size})
	w.literal, w.skip = 0, size
	return true
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if _, err := w.hasher.Write(p); err != nil {
		return 0, err
	}
	w.table.size += int64(len(p))
	linked := min(w.skip, int64(len(p)))
	w.skip -= linked
	rest := p[linked:]
	w.literal += int64(len(rest))
	if n, err := w.buf.Write(rest); err != nil {
		return int(linked) + n, fmt.Errorf("write linked blob: %w", err)
	}
	return len(p), nil
}

// Commit names the blob after its digest and returns that and its size. The
// blob is not deleted before Close.
func (w *Writer) Commit(_ context.Context) (digest.Digest, int64, error) {
	if w.skip > 0 {
		return "", 0, fmt.Errorf("linked file is %d bytes short: %w", w.skip, errdefs.ErrDataLoss)
	}
	if err := w.hasher.Close(); err != nil {
		return "", 0, err
	}
	w.table.rest = w.literal
	err := w.buf.Flush()
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, tableName), w.table.encode(), 0o600)
	}
	if err != nil {
		return "", 0, fmt.Errorf("write linked blob: %w", err)
	}
	dgst := digest.NewDigest(digest.SHA256, w.sum)
	w.s.pin(dgst)
	w.pinned = dgst
	err = os.Rename(w.dir, w.s.folder(dgst))
	// Somebody else may have made the same blob; ours goes with Close.
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return "", 0, fmt.Errorf("name linked blob %s: %w", dgst, err)
	}
	w.s.unsynced.Store(true)
	return dgst, w.table.size, nil
}

// Close drops what was not committed. A committed blob may be deleted from now
// on if nobody names it. Idempotent.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	_ = w.hasher.Close() // a hash does not fail
	err := w.file.Close()
	w.file = nil
	if w.pinned != "" {
		w.s.unpin(w.pinned)
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}
