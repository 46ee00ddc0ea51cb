package ref

import (
	"context"
	"sync"
)

// flightGroup lets callers who want the same work at the same time share it.
// The work ends when it is done or when the last who wants it is gone. The
// zero value is ready.
type flightGroup struct {
	mu    sync.Mutex
	calls map[string]*flight
}

// work is what a flight does.
type work struct {
	// begin, optional, is called before the work starts, while its first
	// caller is still waiting, and what it returns after the work ended.
	begin func() (end func())
	// run does it, with the values of the first caller's context.
	run func(ctx context.Context) (any, error)
	// join, optional, takes a share of the value for one more caller; drop
	// gives up the one that run made, after all callers have theirs.
	join func(value any)
	drop func(value any)
}

// flight is work under way.
type flight struct {
	work   work
	done   chan struct{}
	cancel context.CancelFunc
	// value and err are set before done is closed; waiters and finished are
	// guarded by the group.
	value    any
	err      error
	waiters  int
	finished bool
}

// do returns the outcome of the work of that name. A caller who joined and
// finds that the first caller's attempt failed tries again itself, since what
// failed may be a client that only the first one has.
func (g *flightGroup) do(ctx context.Context, key string, w work) (any, error) {
	for {
		g.mu.Lock()
		f := g.calls[key]
		joined := f != nil
		if !joined {
			f = g.start(ctx, key, w)
		}
		f.waiters++
		g.mu.Unlock()

		var err error
		select {
		case <-f.done:
			err = f.err
		case <-ctx.Done():
			err = context.Cause(ctx)
			joined = false
		}
		if err == nil && w.join != nil {
			w.join(f.value)
		}
		g.leave(key, f)
		switch {
		case err == nil:
			return f.value, nil
		case !joined:
			return nil, err
		}
	}
}

// start begins the work. The lock is held.
func (g *flightGroup) start(ctx context.Context, key string, w work) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{work: w, done: make(chan struct{}), cancel: cancel}
	if g.calls == nil {
		g.calls = map[string]*flight{}
	}
	g.calls[key] = f
	end := func() {}
	if w.begin != nil {
		end = w.begin()
	}
	go func() {
		defer cancel()
		f.value, f.err = w.run(ctx)
		end()
		g.mu.Lock()
		if g.calls[key] == f {
			delete(g.calls, key)
		}
		f.finished = true
		abandoned := f.waiters == 0
		g.mu.Unlock()
		close(f.done)
		if abandoned {
			f.dropValue()
		}
	}()
	return f
}

// leave cancels the work when nobody wants it any more. Who comes next starts
// anew and does not wait for what is being cancelled.
func (g *flightGroup) leave(key string, f *flight) {
	g.mu.Lock()
	f.waiters--
	last, finished := f.waiters == 0, f.finished
	if last && g.calls[key] == f {
		delete(g.calls, key)
	}
	g.mu.Unlock()
	if !last {
		return
	}
	f.cancel()
	if finished {
		f.dropValue()
	}
}

func (f *flight) dropValue() {
	if f.err == nil && f.work.drop != nil {
		f.work.drop(f.value)
	}
}

// share runs fn for an entry that the caller holds; the work has a hold of its
// own, so that it may outlast the caller.
func (s *Store) share(ctx context.Context, e *entry, what string, fn func(ctx context.Context) (any, error)) (any, error) {
	return s.flights.do(ctx, what+" "+e.lease, work{
		begin: func() func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			e.holds++
			return func() { s.release(context.WithoutCancel(ctx), e) }
		},
		run: fn,
	})
}
