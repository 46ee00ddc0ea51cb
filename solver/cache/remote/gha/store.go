package gha

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	actionscache "github.com/tonistiigi/go-actions-cache"

	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
)

// raceTimeout is how long a config that somebody else began to write is waited
// for before it counts as given up.
const raceTimeout = 15 * time.Second

// store is the service as an object store.
type store struct{ service *actionscache.Cache }

var _ bucket.Store = (*store)(nil)

func (s *store) entry(ctx context.Context, key string) (*actionscache.Entry, error) {
	e, err := s.service.Load(ctx, key)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("key %s: %w", key, errdefs.ErrNotFound)
	}
	return e, nil
}

// Stat implements bucket.Store. The service does not tell the time.
func (s *store) Stat(ctx context.Context, key string) (time.Time, error) {
	_, err := s.entry(ctx, key)
	return time.Time{}, err
}

// Touch does nothing: looking is enough.
func (s *store) Touch(context.Context, string) error { return nil }

// Put implements bucket.Store.
func (s *store) Put(ctx context.Context, key string, data *io.SectionReader) error {
	blob := source{data}
	if !strings.HasPrefix(key, blobPrefix) {
		return s.service.SaveMutable(ctx, key, raceTimeout, func(*actionscache.Entry) (actionscache.Blob, error) { return blob, nil })
	}
	err := s.service.Save(ctx, key, blob)
	if errors.Is(err, os.ErrExist) {
		// Equal keys have equal bytes.
		return nil
	}
	return err
}

// source is data as the service wants it.
type source struct{ *io.SectionReader }

// Close does nothing.
func (source) Close() error { return nil }

// Get implements bucket.Store.
func (s *store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	e, err := s.entry(ctx, key)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	// Ends with the bytes, or with the reader, whose Close fails the writing.
	go func() { _ = w.CloseWithError(e.WriteTo(ctx, w)) }()
	return r, nil
}
