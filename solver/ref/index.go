package ref

import (
	"container/list"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// maxIndexed bounds how many files' entries are kept in memory, over all
// layers; the layer used last stays in any case.
const maxIndexed = 150_000

// layerIndex is the index of a layer in memory, with the digests of those of
// its directories that somebody asked for.
type layerIndex struct {
	idx *layerindex.Index

	mu   sync.Mutex
	dirs map[string]digest.Digest
}

func (l *layerIndex) directory(path string) (digest.Digest, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.dirs[path]
	return d, ok
}

func (l *layerIndex) remember(path string, d digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dirs == nil {
		l.dirs = map[string]digest.Digest{}
	}
	l.dirs[path] = d
}

// indexCache holds the indexes used last, by lease: that names one layer for
// all time.
type indexCache struct {
	mu      sync.Mutex
	byLease map[string]*list.Element
	order   *list.List // of indexCacheItem, the one used last in front
	files   int
}

type indexCacheItem struct {
	lease string
	index *layerIndex
}

func newIndexCache() *indexCache {
	return &indexCache{byLease: map[string]*list.Element{}, order: list.New()}
}

func (c *indexCache) get(lease string) *layerIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byLease[lease]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(indexCacheItem).index
}

// put adds an index, unless there is one already, and returns what is there.
func (c *indexCache) put(lease string, idx *layerindex.Index) *layerIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byLease[lease]; el != nil {
		return el.Value.(indexCacheItem).index
	}
	l := &layerIndex{idx: idx}
	c.byLease[lease] = c.order.PushFront(indexCacheItem{lease, l})
	c.files += idx.Len()
	for c.files > maxIndexed && c.order.Len() > 1 {
		c.drop(c.order.Back())
	}
	return l
}

func (c *indexCache) forget(lease string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byLease[lease]; el != nil {
		c.drop(el)
	}
}

func (c *indexCache) drop(el *list.Element) {
	item := c.order.Remove(el).(indexCacheItem)
	delete(c.byLease, item.lease)
	c.files -= item.index.idx.Len()
}

// Index returns the index of the ref's own layer, making it if nobody has. A
// stack has none: FailedPrecondition.
func (r *Ref) Index(ctx context.Context) (*layerindex.Index, error) {
	if r.e.kind() != kindLayer {
		return nil, fmt.Errorf("ref %s has no layer of its own: %w", r.e.id, errdefs.ErrFailedPrecondition)
	}
	l, err := r.e.s.index(ctx, r.e)
	if err != nil {
		return nil, err
	}
	return l.idx, nil
}

// index returns the index of the own layer of e: from memory, from disk, or by
// looking at the layer. e is held by the caller.
func (s *Store) index(ctx context.Context, e *entry) (*layerIndex, error) {
	if l := s.indexes.get(e.lease); l != nil {
		return l, nil
	}
	v, err := s.share(ctx, e, "index", func(ctx context.Context) (any, error) {
		if l := s.indexes.get(e.lease); l != nil {
			return l, nil
		}
		idx := s.readIndex(ctx, e)
		if idx == nil {
			var err error
			if idx, err = s.makeIndex(ctx, e); err != nil {
				return nil, fmt.Errorf("index layer %s: %w", e.id, err)
			}
			s.putIndex(ctx, e, idx)
		}
		return s.indexes.put(e.lease, idx), nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*layerIndex), nil
}

// makeIndex looks at the layer.
func (s *Store) makeIndex(ctx context.Context, e *entry) (*layerindex.Index, error) {
	if s.cfg.IndexDir != nil && s.cfg.Layers != nil {
		dir, err := s.cfg.Layers.UpperDir(s.ctx(ctx), e.snapshot())
		if err == nil {
			var idx *layerindex.Index
			if idx, err = s.cfg.IndexDir(ctx, dir); err == nil {
				return idx, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		log.G(ctx).WithError(err).WithField("ref", e.id).Debug("layer directory cannot be indexed, comparing")
	}
	blob, idx, err := s.compare(ctx, e, CompareOptions{Compression: Uncompressed, Index: true})
	if err != nil {
		return nil, err
	}
	if err := s.dropBlob(ctx, e, blob.Descriptor.Digest); err != nil {
		return nil, err
	}
	if idx == nil {
		return nil, fmt.Errorf("the comparer makes no index: %w", errdefs.ErrNotImplemented)
	}
	return idx, nil
}

// putIndex stores an index. Failing to is not worth failing for: it can be
// made again.
func (s *Store) putIndex(ctx context.Context, e *entry, idx *layerindex.Index) {
	var err error
	if s.cfg.Layers != nil {
		err = s.cfg.Layers.SetIndex(s.ctx(ctx), e.snapshot(), idx.Encode())
	} else {
		err = s.writeIndexFile(e.lease, idx)
	}
	if err != nil {
		log.G(ctx).WithError(err).WithField("ref", e.id).Warn("store layer index")
	}
	s.indexes.put(e.lease, idx)
}

// readIndex returns the stored index, or nil if there is none that is whole.
func (s *Store) readIndex(ctx context.Context, e *entry) *layerindex.Index {
	var data []byte
	var err error
	if s.cfg.Layers != nil {
		data, err = s.cfg.Layers.Index(s.ctx(ctx), e.snapshot())
	} else {
		data, err = os.ReadFile(s.indexFile(e.lease))
	}
	if err != nil {
		return nil
	}
	idx, err := layerindex.Decode(data)
	if err != nil {
		log.G(ctx).WithError(err).WithField("ref", e.id).Warn("layer index is damaged, making it again")
		return nil
	}
	return idx
}

// hasIndex reports whether the index need not be made.
func (s *Store) hasIndex(ctx context.Context, e *entry) bool {
	return s.indexes.get(e.lease) != nil || s.readIndex(ctx, e) != nil
}

func (s *Store) indexFile(lease string) string {
	return filepath.Join(s.cfg.Root, indexesDir, lease)
}

// writeIndexFile replaces the file; after a power loss it is there, or not, or
// damaged, which its checksum tells.
func (s *Store) writeIndexFile(lease string, idx *layerindex.Index) error {
	path := s.indexFile(lease)
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, idx.Encode(), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (s *Store) removeIndexFile(lease string) {
	if s.cfg.Layers == nil {
		_ = os.Remove(s.indexFile(lease)) // mostly there is none
	}
}
