package cachetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
)

// Results is an in-memory cache.Results. The zero value is empty.
type Results struct {
	mu    sync.Mutex
	kept  map[string]bool
	holds map[string]int
}

// New returns a hold on a new result.
func (r *Results) New(id string) solver.Result {
	r.hold(id, 1)
	return &result{results: r, id: id}
}

// Load implements cache.Results.
func (r *Results) Load(_ context.Context, id string) (solver.Result, error) {
	if !r.Kept(id) {
		return nil, fmt.Errorf("result %s: %w", id, errdefs.ErrNotFound)
	}
	return r.New(id), nil
}

// Keep implements cache.Results.
func (r *Results) Keep(_ context.Context, res solver.Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[string]bool{}
	}
	r.kept[res.ID()] = true
	return nil
}

// Kept says whether Keep was called for a result that was not lost since.
func (r *Results) Kept(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept[id]
}

// Lose makes a result disappear.
func (r *Results) Lose(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, id)
}

// Holds returns how many holds are not released.
func (r *Results) Holds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, h := range r.holds {
		n += h
	}
	return n
}

func (r *Results) hold(id string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holds == nil {
		r.holds = map[string]int{}
	}
	r.holds[id] += n
}

type result struct {
	results  *Results
	id       string
	released atomic.Bool
}

func (r *result) ID() string           { return r.id }
func (r *result) Clone() solver.Result { return r.results.New(r.id) }

func (r *result) Release(context.Context) error {
	if !r.released.Swap(true) {
		r.results.hold(r.id, -1)
	}
	return nil
}
