package ref

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// many fills a store with n kept refs in chains of ten.
func many(t testing.TB, f *fixture, n int) {
	t.Helper()
	ctx := t.Context()
	var parent *Ref
	for i := range n {
		a, err := f.Prepare(ctx, parent, WithDescription(fmt.Sprint("step ", i)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Commit(ctx)
		if err == nil {
			err = f.Keep(ctx, r)
		}
		if parent != nil {
			_ = parent.Release(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		if parent = r; i%10 == 9 {
			_ = r.Release(ctx)
			parent = nil
		}
	}
	if parent != nil {
		_ = parent.Release(ctx)
	}
}

// step is what a build does beside a prune.
func step(ctx context.Context, f *fixture) error {
	a, err := f.Prepare(ctx, nil, WithDescription("beside"))
	if err != nil {
		return err
	}
	r, err := a.Commit(ctx)
	if err != nil {
		return err
	}
	if err := f.Keep(ctx, r); err != nil {
		return err
	}
	return r.Release(ctx)
}

// TestBuildsGoOnDuringPrune: a prune of everything never takes what is held, and
// steps beside it end while it runs.
func TestBuildsGoOnDuringPrune(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	many(t, f, 1000)
	held := f.layer(nil, files{"a": "1"}, WithDescription("held"))
	f.keep(held)
	beside := 0
	err := f.Prune(ctx, PruneOptions{All: true}, func(Usage) {
		// In the middle of the prune, from where it reports: it waits for us.
		if beside == 3 {
			return
		}
		beside++
		done := make(chan error, 1)
		go func() { done <- step(ctx, f) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("a step waits for the end of a prune")
		}
	})
	if err != nil || beside != 3 {
		t.Fatalf("%d steps beside, %v", beside, err)
	}
	list, err := f.Usage(ctx, nil)
	if err != nil || strings.Contains(ids(list), "step") || !strings.Contains(ids(list), "held") {
		t.Errorf("left: %s, %v", ids(list), err)
	}
	f.release(held)
}

// BenchmarkManyRecords measures listing and pruning 10,000 refs, and the longest
// wait of a step beside the prune.
func BenchmarkManyRecords(b *testing.B) {
	h, err := newHost(b.TempDir(), hostOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.close() })
	s, err := Open(b.Context(), h.cfg)
	if err != nil {
		b.Fatal(err)
	}
	f := &fixture{Store: s, host: h}
	ctx := b.Context()
	for b.Loop() {
		b.StopTimer()
		many(b, f, 10_000)
		if _, err := s.Usage(ctx, nil); err != nil { // measures once
			b.Fatal(err)
		}
		b.StartTimer()
		start := time.Now()
		if _, err := s.Usage(ctx, nil); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "du-ms")
		stop, worst := make(chan struct{}), make(chan time.Duration)
		go func() {
			longest := time.Duration(0)
			for {
				select {
				case <-stop:
					worst <- longest
					return
				default:
				}
				start := time.Now()
				if err := step(ctx, f); err != nil {
					b.Error(err)
				}
				longest = max(longest, time.Since(start))
			}
		}()
		start = time.Now()
		if err := s.Prune(ctx, PruneOptions{All: true}, nil); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "prune-ms")
		close(stop)
		b.ReportMetric(float64((<-worst).Milliseconds()), "longest-step-ms")
	}
}
