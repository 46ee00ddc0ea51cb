package remote

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

// LevelConfig is what a Level is made of; all fields are required.
type LevelConfig struct {
	// Refs makes file systems of layers.
	Refs *ref.Store
	// Transfer brings a blob into the local content store, under the lease in
	// ctx.
	Transfer func(ctx context.Context, from *Origin, desc ocispecs.Descriptor) error
	// Expand knows the keys of the local cache.
	Expand Expand
}

// Level is imported caches as a level of lookup. Use NewLevel and Fill.
type Level struct {
	cfg LevelConfig

	// filled is closed when tables is set.
	filled chan struct{}
	tables []*Table

	mu sync.Mutex // guards found
	// found has what Lookup told of, by result id.
	found map[string]*Stack
}

var _ solver.Cache = (*Level)(nil)

// NewLevel returns a level whose lookups wait for Fill.
func NewLevel(cfg LevelConfig) *Level {
	return &Level{cfg: cfg, filled: make(chan struct{}), found: map[string]*Stack{}}
}

// Fill ends the waiting; tables may be empty. It must be called once.
func (l *Level) Fill(tables []*Table) {
	l.tables = tables
	close(l.filled)
}

// Tables waits for Fill and returns what it was given.
func (l *Level) Tables(ctx context.Context) ([]*Table, error) {
	select {
	case <-l.filled:
		return l.tables, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Lookup implements solver.Cache.
func (l *Level) Lookup(ctx context.Context, key *solver.Key) (*solver.Record, error) {
	if key.Volatile {
		return nil, nil
	}
	tables, err := l.Tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		s := t.Find(ctx, key, l.cfg.Expand)
		if s == nil {
			continue
		}
		id := "remote:" + s.ID()
		l.mu.Lock()
		l.found[id] = s
		l.mu.Unlock()
		return &solver.Record{ResultID: id, Key: key, CreatedAt: s.CreatedAt}, nil
	}
	return nil, nil
}

// Foretells reports whether one of the tables has a record of an op.
func (l *Level) Foretells(ctx context.Context, op digest.Digest) bool {
	tables, err := l.Tables(ctx)
	if err != nil {
		return false
	}
	for _, t := range tables {
		if t.foretells(op) {
			return true
		}
	}
	return false
}

// Recognizes reports whether one of the tables has a record of a key, with a
// result or without.
func (l *Level) Recognizes(ctx context.Context, key *solver.Key) bool {
	tables, err := l.Tables(ctx)
	if err != nil {
		return false
	}
	for _, t := range tables {
		if len(t.match(ctx, key.ID(), key, l.cfg.Expand)) > 0 {
			return true
		}
	}
	return false
}

// Load implements solver.Cache: it fetches the layers that are not here and
// makes a file system of them.
func (l *Level) Load(ctx context.Context, rec *solver.Record) (solver.Result, error) {
	l.mu.Lock()
	s := l.found[rec.ResultID]
	l.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("load imported result %s: %w", rec.ResultID, errdefs.ErrNotFound)
	}
	r, err := load(ctx, l.cfg.Refs, l.cfg.Transfer, s)
	if err != nil {
		return nil, fmt.Errorf("load result from %s: %w", s.From.Name, err)
	}
	return r, nil
}

// load makes a file system of an imported result.
func load(
	ctx context.Context, refs *ref.Store, call func(context.Context, *Origin, ocispecs.Descriptor) error, s *Stack,
) (*ref.Ref, error) {
	return refs.FromLayers(ctx, s.Layers, transfer{s.From, call}, nil)
}

// transfer brings layers for the ref store.
type transfer struct {
	from *Origin
	call func(ctx context.Context, from *Origin, desc ocispecs.Descriptor) error
}

// Fetch implements ref.LayerProvider.
func (t transfer) Fetch(ctx context.Context, desc ocispecs.Descriptor) error {
	return t.call(ctx, t.from, desc)
}

// Save does nothing: the graph keeps what it loads in its own cache.
func (l *Level) Save(context.Context, []*solver.Key, solver.Result) (*solver.Record, error) {
	return nil, fmt.Errorf("save to an imported cache: %w", errdefs.ErrNotImplemented)
}
