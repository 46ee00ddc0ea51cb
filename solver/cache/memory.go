package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Memory is a Store that ends with the process.
type Memory struct {
	results Results
	now     func() time.Time

	mu            sync.Mutex
	table         *table
	lookups, hits int64
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory(results Results) *Memory {
	return &Memory{results: results, now: time.Now, table: newTable(0)}
}

// Lookup implements solver.Cache.
func (m *Memory) Lookup(_ context.Context, key *solver.Key) (*solver.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.table.records[key.ID()]
	m.lookups++
	if rec != nil {
		m.hits++
	}
	return rec, nil
}

// Load implements solver.Cache.
func (m *Memory) Load(ctx context.Context, rec *solver.Record) (solver.Result, error) {
	return load(ctx, m.results, m, rec)
}

// load gets the result of a record and forgets it if it is gone for good.
func load(ctx context.Context, results Results, store Store, rec *solver.Record) (solver.Result, error) {
	if rec.ResultID == "" {
		return nil, nil
	}
	res, err := results.Load(ctx, rec.ResultID)
	if err == nil {
		return res, nil
	}
	if errdefs.IsNotFound(err) {
		if err := store.Forget(ctx, rec.ResultID); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("load result %s: %w", rec.ResultID, err)
}

// keep makes a result durable if a key of it is to be.
func keep(ctx context.Context, results Results, keys []*solver.Key, res solver.Result) error {
	if res == nil {
		return nil
	}
	for _, k := range keys {
		if k.Volatile {
			continue
		}
		if err := results.Keep(ctx, res); err != nil {
			return fmt.Errorf("keep result %s: %w", res.ID(), err)
		}
		return nil
	}
	return nil
}

// Save implements solver.Cache.
func (m *Memory) Save(ctx context.Context, keys []*solver.Key, res solver.Result) (*solver.Record, error) {
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	if err := keep(ctx, m.results, keys, res); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := newRecord(keys, res, m.now())
	if old := m.table.records[keys[0].ID()]; old != nil && old.ResultID == rec.ResultID {
		rec.CreatedAt = old.CreatedAt
	}
	for _, k := range keys {
		m.table.put(k.ID(), rec)
		if !k.Volatile {
			collect(k, m.table.learn)
		}
	}
	return rec, nil
}

// Forget implements Store.
func (m *Memory) Forget(_ context.Context, resultID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table.forget(resultID)
	return nil
}

// KeysOf implements Inspector.
func (m *Memory) KeysOf(_ context.Context, resultID string) ([]digest.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table.keysOf(resultID), nil
}

// Walk implements Inspector.
func (m *Memory) Walk(ctx context.Context, id digest.Digest, fn func(Node) error) error {
	return walk(ctx, id, fn, func(id digest.Digest) (*Node, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		s, ok := m.table.structures[id]
		if !ok {
			return nil, nil
		}
		return &Node{ID: id, Structure: s, Record: m.table.records[id]}, nil
	})
}

// List implements Inspector.
func (m *Memory) List(_ context.Context, after digest.Digest, n int) ([]Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Node
	for _, id := range m.table.after(after, n) {
		out = append(out, Node{ID: id, Structure: m.table.structures[id], Record: m.table.records[id]})
	}
	return out, nil
}

// walk visits what is under id; get returns nil for unknown keys.
func walk(ctx context.Context, id digest.Digest, fn func(Node) error, get func(digest.Digest) (*Node, error)) error {
	seen := map[digest.Digest]struct{}{id: {}}
	todo := []digest.Digest{id}
	for len(todo) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		id, todo = todo[0], todo[1:]
		n, err := get(id)
		if err != nil {
			return err
		}
		if n == nil {
			continue
		}
		if err := fn(*n); err != nil {
			return err
		}
		for _, in := range n.Inputs {
			if _, ok := seen[in.Key]; !ok {
				seen[in.Key] = struct{}{}
				todo = append(todo, in.Key)
			}
		}
	}
	return nil
}

// Stats implements Inspector.
func (m *Memory) Stats(context.Context) (Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{
		Records:    len(m.table.records),
		Structures: len(m.table.structures),
		Results:    len(m.table.byResult),
		Lookups:    m.lookups,
		Hits:       m.hits,
	}, nil
}
