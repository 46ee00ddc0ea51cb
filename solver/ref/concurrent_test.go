package ref

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// TestConcurrent lets many builders make, keep, find, merge, hash, export and
// drop refs while others prune, list and sweep. In the end nothing is left.
func TestConcurrent(t *testing.T) {
	f := newFixture(t, hostOptions{})
	layers, g, _ := f.image()
	var known struct {
		sync.Mutex
		ids []string
	}
	var eg errgroup.Group
	for w := range 6 {
		eg.Go(func() error {
			rnd := rand.New(rand.NewPCG(7, uint64(w)))
			base, err := f.FromLayers(t.Context(), layers[:1+w%3], g, nil)
			if err != nil {
				return err
			}
			defer f.release(base)
			for i := range 12 {
				id, err := worker(t.Context(), f.Store, rnd, base, fmt.Sprintf("%d-%d", w, i))
				if err != nil {
					return fmt.Errorf("worker %d, round %d: %w", w, i, err)
				}
				known.Lock()
				known.ids = append(known.ids, id)
				other := known.ids[rnd.IntN(len(known.ids))]
				known.Unlock()
				r, err := f.Get(t.Context(), other)
				if errdefs.IsNotFound(err) {
					continue
				}
				if err != nil {
					return err
				}
				if _, err := r.ContentDigest(t.Context(), "/", ContentOptions{}); err != nil {
					return err
				}
				if err := r.Release(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	eg.Go(func() error {
		for range 10 {
			if _, err := f.Usage(t.Context(), nil); err != nil {
				return err
			}
			if err := f.Prune(t.Context(), PruneOptions{MaxUsedSpace: 100 << 10}, nil); err != nil {
				return err
			}
			if _, err := f.Sweep(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := f.Prune(t.Context(), PruneOptions{All: true}, nil); err != nil {
		t.Fatal(err)
	}
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
	if len(f.entries) != 0 || len(f.dying) != 0 {
		t.Errorf("%d entries and %d dying leases in memory", len(f.entries), len(f.dying))
	}
}

// worker makes a ref on base, uses it and drops it, kept or not.
func worker(ctx context.Context, s *Store, rnd *rand.Rand, base *Ref, name string) (string, error) {
	a, err := s.Prepare(ctx, base)
	if err != nil {
		return "", err
	}
	if rnd.IntN(8) == 0 {
		return a.ID(), a.Discard(ctx)
	}
	dir, release, err := a.Dir(ctx)
	if err != nil {
		return "", err
	}
	if err := writeFile(dir, name); err != nil {
		return "", err
	}
	if err := release(); err != nil {
		return "", err
	}
	r, err := a.Commit(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Release(ctx) }()
	switch rnd.IntN(4) {
	case 0:
		if _, err := r.Layers(ctx, LayerOptions{}, nil); err != nil {
			return "", err
		}
	case 1:
		m, err := s.Merge(ctx, []*Ref{base, r})
		if err != nil {
			return "", err
		}
		if err := r.Release(ctx); err != nil {
			return "", err
		}
		r = m
	case 2:
		if _, err := r.ReadFile(ctx, name, 0, 0); err != nil {
			return "", err
		}
	}
	if rnd.IntN(3) > 0 {
		return r.ID(), s.Keep(ctx, r)
	}
	return r.ID(), nil
}

// TestTransactions counts what a step costs in transactions of containerd's
// metadata, which are most of its time on a disk that syncs.
func TestTransactions(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	base := f.layer(nil, files{"a": "1"})
	defer f.release(base)
	start := f.host.updates.count()
	a, err := f.Prepare(ctx, base)
	if err != nil {
		t.Fatal(err)
	}
	prepared := f.host.updates.count()
	r, err := a.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	committed := f.host.updates.count()
	f.keep(r)
	f.keep(r)
	kept := f.host.updates.count()
	f.release(r)
	// The lease, and containerd's two for Prepare; Commit; Keep is in refs.db.
	if p, c, k := prepared-start, committed-prepared, kept-committed; p != 3 || c != 1 || k != 0 {
		t.Errorf("prepare %d, commit %d, keep %d transactions", p, c, k)
	}
}

// BenchmarkStep measures Prepare, Commit and Keep without a process between,
// synced as in production.
func BenchmarkStep(b *testing.B) {
	for _, o := range []hostOptions{{}, {durable: true}} {
		b.Run(fmt.Sprintf("durable=%v", o.durable), func(b *testing.B) {
			h, err := newHost(b.TempDir(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = h.close() }()
			s, err := Open(b.Context(), h.cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			var parent *Ref
			for i := 0; b.Loop(); i++ {
				if i%50 == 0 {
					parent = nil
				}
				a, err := s.Prepare(b.Context(), parent)
				if err != nil {
					b.Fatal(err)
				}
				r, err := a.Commit(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Keep(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				_ = parent.Release(b.Context())
				parent = r
			}
		})
	}
}
