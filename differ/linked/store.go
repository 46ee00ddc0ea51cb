package linked

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Names below the root. The folder of blobs is named after their algorithm.
const (
	tmpName   = "tmp"
	bytesName = "bytes"
	tableName = "table"
)

// Store is a backend content store with linked blobs beside its own. Labels and
// uploads are the backend's business.
type Store struct {
	content.Store
	root string
	// unsynced says that a blob was committed since the last Sync.
	unsynced atomic.Bool

	mu sync.Mutex
	// pins counts who needs a linked blob to stay.
	pins map[digest.Digest]int
}

var _ content.Store = (*Store)(nil)

// Wrap adds the linked blobs in the folder root, which it makes if need be, to
// a backend. The folder belongs to the Store alone. Links are possible to files
// of the same file system only; others are copied.
func Wrap(backend content.Store, root string) (*Store, error) {
	// No more than what was being written when the last process ended.
	if err := os.RemoveAll(filepath.Join(root, tmpName)); err != nil {
		return nil, fmt.Errorf("clear linked blobs in the making: %w", err)
	}
	for _, name := range []string{tmpName, string(digest.SHA256)} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			return nil, fmt.Errorf("make folder of linked blobs: %w", err)
		}
	}
	return &Store{Store: backend, root: root, pins: map[digest.Digest]int{}}, nil
}

// folder is where a linked blob is, if it is one.
func (s *Store) folder(dgst digest.Digest) string {
	return filepath.Join(s.root, string(digest.SHA256), dgst.Encoded())
}

// Info implements content.InfoProvider.
func (s *Store) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	info, err := s.Store.Info(ctx, dgst)
	if !errdefs.IsNotFound(err) {
		return info, err
	}
	return s.info(dgst)
}

// info describes a linked blob; NotFound if there is none.
func (s *Store) info(dgst digest.Digest) (content.Info, error) {
	if dgst.Validate() != nil || dgst.Algorithm() != digest.SHA256 {
		return content.Info{}, fmt.Errorf("content %s: %w", dgst, errdefs.ErrNotFound)
	}
	path := filepath.Join(s.folder(dgst), tableName)
	st, err := os.Stat(path)
	if err != nil {
		return content.Info{}, missing(dgst, err)
	}
	size, err := readSize(path)
	if err != nil {
		return content.Info{}, missing(dgst, err)
	}
	return content.Info{Digest: dgst, Size: size, CreatedAt: st.ModTime(), UpdatedAt: st.ModTime()}, nil
}

// missing makes NotFound of a file that is not there.
func missing(dgst digest.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("content %s: %w", dgst, errdefs.ErrNotFound)
	}
	return fmt.Errorf("content %s: %w", dgst, err)
}

// ReaderAt implements content.Provider.
func (s *Store) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := s.Store.ReaderAt(ctx, desc)
	if !errdefs.IsNotFound(err) {
		return ra, err
	}
	if _, ierr := s.info(desc.Digest); ierr != nil {
		return nil, err
	}
	return s.open(desc.Digest)
}

// Walk implements content.Manager.
func (s *Store) Walk(ctx context.Context, fn content.WalkFunc, list ...string) error {
	if err := s.Store.Walk(ctx, fn, list...); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	filter, err := filters.ParseAll(list...)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.root, string(digest.SHA256)))
	if err != nil {
		return fmt.Errorf("list linked blobs: %w", err)
	}
	for _, e := range entries {
		dgst := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		info, err := s.info(dgst)
		if errdefs.IsNotFound(err) {
			continue // It went meanwhile.
		}
		if err != nil {
			return err
		}
		// The same bytes may have come from elsewhere too; one is enough to tell.
		if _, err := s.Store.Info(ctx, dgst); err == nil || !filter.Match(content.AdaptInfo(info)) {
			continue
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements content.Manager. A linked blob that somebody reads or is
// about to name stays, without an error.
func (s *Store) Delete(ctx context.Context, dgst digest.Digest) error {
	err := s.Store.Delete(ctx, dgst)
	if _, ierr := s.info(dgst); ierr != nil {
		return err
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	trash := filepath.Join(s.root, tmpName, temporary())
	s.mu.Lock()
	if s.pins[dgst] > 0 {
		s.mu.Unlock()
		return nil
	}
	err = os.Rename(s.folder(dgst), trash)
	s.mu.Unlock()
	if err != nil {
		return missing(dgst, err)
	}
	return os.RemoveAll(trash)
}

// WalkStatusRefs is the backend's quick way of listing uploads, which
// containerd's metadata layer looks for.
func (s *Store) WalkStatusRefs(ctx context.Context, fn func(string) error) error {
	if w, ok := s.Store.(interface {
		WalkStatusRefs(context.Context, func(string) error) error
	}); ok {
		return w.WalkStatusRefs(ctx, fn)
	}
	statuses, err := s.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, st := range statuses {
		if err := fn(st.Ref); err != nil {
			return err
		}
	}
	return nil
}

// Sync returns when all blobs committed before it survive a power loss, with
// the bytes they are linked to.
func (s *Store) Sync(ctx context.Context) error {
	if b, ok := s.Store.(interface{ Sync(context.Context) error }); ok {
		if err := b.Sync(ctx); err != nil {
			return err
		}
	}
	if !s.unsynced.Swap(false) {
		return nil
	}
	dir, err := os.Open(s.root)
	if err != nil {
		s.unsynced.Store(true)
		return fmt.Errorf("sync linked blobs: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		s.unsynced.Store(true)
		return fmt.Errorf("sync linked blobs: %w", err)
	}
	return nil
}

// pin keeps a linked blob until unpin.
func (s *Store) pin(dgst digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[dgst]++
}

func (s *Store) unpin(dgst digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[dgst]--; s.pins[dgst] == 0 {
		delete(s.pins, dgst)
	}
}
