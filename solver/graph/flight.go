package graph

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// state of a flight; doc.go has the picture.
type state int

const (
	// idle: nothing is known and nothing computes. Entered when new, when a
	// computation was cancelled or said it was, and by reset.
	idle state = iota
	// running: one goroutine computes and at least one ticket waits. Entered
	// from idle by the first ticket, from unwinding when somebody came back.
	running
	// unwinding: the computation was cancelled because nobody waited, and has
	// not returned yet. Nothing new starts before it does. Entered from running.
	unwinding
	// done: the value is known. Entered from running and unwinding.
	done
	// failed: the error is known. Entered from running only: what fails after
	// it was cancelled says nothing.
	failed
	// closed: the end. Entered from everywhere; a computation still under way
	// is cancelled and its value dropped when it comes.
	closed
)

func (s state) String() string {
	return [...]string{"idle", "running", "unwinding", "done", "failed", "closed"}[s]
}

// legal lists the transitions; to panics on any other.
var legal = map[state][]state{
	idle:      {running, closed},
	running:   {idle, unwinding, done, failed, closed},
	unwinding: {idle, running, done, closed},
	done:      {closed},
	failed:    {idle, closed},
	closed:    {},
}

// errClosed is what tickets of a closed flight get.
var errClosed = fmt.Errorf("no build wants this any more: %w", context.Canceled)

// flight is a memoised computation with counted interest: it runs while
// somebody waits, at most once at a time, and once in all if it succeeds.
type flight[T any] struct {
	owner *crew
	// compute is called in a goroutine of its own.
	compute func(context.Context) (T, error)
	// share makes a waiter's own copy of the value; nil means plain copying.
	share func(T) T
	// drop gives up a copy; nil if there is nothing to give up.
	drop func(context.Context, T)

	mu      sync.Mutex
	state   state
	tickets map[*ticket[T]]struct{}
	cancel  context.CancelFunc
	// again is the context of the latest ticket taken while unwinding.
	again context.Context
	value T
	err   error
}

// to is the only place where the state changes. f.mu is held.
func (f *flight[T]) to(next state) {
	for _, s := range legal[f.state] {
		if s == next {
			f.state = next
			return
		}
	}
	panic(fmt.Sprintf("graph: flight cannot go from %s to %s", f.state, next))
}

// launch starts the computation with the values of ctx. f.mu is held.
func (f *flight[T]) launch(ctx context.Context) {
	f.to(running)
	ctx, f.cancel = context.WithCancel(originOf(ctx).values)
	f.owner.start(func() {
		var value T
		err := errors.New("the computation ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = newPanicError(p)
			}
			f.finish(ctx, value, err)
		}()
		value, err = f.compute(ctx)
	})
}

// finish takes what the computation returned and serves the tickets.
func (f *flight[T]) finish(ctx context.Context, value T, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel()
	f.cancel = nil
	switch {
	case f.state == closed:
		if err == nil {
			// Dropping may take time, but nobody else uses this lock any more.
			f.dropValue(ctx, value)
		}
		return
	case err == nil:
		f.to(done)
		f.value = value
	case f.state == unwinding:
		if len(f.tickets) > 0 {
			f.launch(f.again)
			return
		}
		f.to(idle)
		return
	case isCancellation(err):
		f.to(idle)
	default:
		f.to(failed)
		f.err = err
	}
	for t := range f.tickets {
		f.serve(t, err)
	}
	f.tickets = nil
}

// serve gives a ticket its answer. f.mu is held.
func (f *flight[T]) serve(t *ticket[T], err error) {
	t.served, t.failure = true, err
	if err == nil {
		t.value = f.value
		if f.share != nil {
			t.value = f.share(f.value)
		}
	}
	t.ready <- t.index
}

func (f *flight[T]) dropValue(ctx context.Context, value T) {
	if f.drop != nil {
		f.drop(context.WithoutCancel(ctx), value)
	}
}

// reset forgets a failure, so that the next ticket starts afresh.
func (f *flight[T]) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == failed {
		f.to(idle)
		f.err = nil
	}
}

// close gives up the value and ends the flight for good.
func (f *flight[T]) close(ctx context.Context) {
	f.mu.Lock()
	was, value := f.state, f.value
	if was == closed {
		f.mu.Unlock()
		return
	}
	var zero T
	f.to(closed)
	f.value = zero
	if f.cancel != nil {
		f.cancel()
	}
	for t := range f.tickets {
		f.serve(t, errClosed)
	}
	f.tickets = nil
	f.mu.Unlock()
	if was == done {
		f.dropValue(ctx, value)
	}
}

// peek returns the state, and the value or error if there is one, for dumps.
// The value is not shared: look at it, do not keep it.
func (f *flight[T]) peek() (s state, value T, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.value, f.err
}

// ticket is one waiter's interest in a flight. Use await or wait.
type ticket[T any] struct {
	flight *flight[T]
	index  int
	ready  chan<- int

	// What follows is guarded by flight.mu until served.
	served  bool
	value   T
	failure error
}

func (f *flight[T]) ticket() *ticket[T] { return &ticket[T]{flight: f} }

// join declares interest; index is sent to ready, which must have room, when
// there is an answer.
func (t *ticket[T]) join(ctx context.Context, index int, ready chan<- int) {
	t.index, t.ready = index, ready
	f := t.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.state {
	case done:
		f.serve(t, nil)
		return
	case failed:
		f.serve(t, f.err)
		return
	case closed:
		f.serve(t, errClosed)
		return
	}
	if f.tickets == nil {
		f.tickets = map[*ticket[T]]struct{}{}
	}
	f.tickets[t] = struct{}{}
	switch f.state {
	case idle:
		f.launch(ctx)
	case unwinding:
		f.again = ctx
	}
}

// leave ends the interest: an answer already given is dropped, a computation
// that nobody waits for any more is cancelled.
func (t *ticket[T]) leave(ctx context.Context) {
	f := t.flight
	f.mu.Lock()
	if t.served {
		f.mu.Unlock()
		if t.failure == nil {
			f.dropValue(ctx, t.value)
		}
		return
	}
	if _, ok := f.tickets[t]; ok {
		delete(f.tickets, t)
		if len(f.tickets) == 0 && f.state == running {
			f.to(unwinding)
			f.cancel()
		}
	}
	f.mu.Unlock()
}

// result returns the answer's error; to be called after ready said so.
func (t *ticket[T]) result() error { return t.failure }

// interest is a ticket of any type.
type interest interface {
	join(ctx context.Context, index int, ready chan<- int)
	leave(ctx context.Context)
	result() error
}

// await waits for all of ts at once. With the first error, or the end of ctx,
// it gives all of them up and returns; without, the caller owns their values.
func await(ctx context.Context, ts []interest) error {
	ready := make(chan int, len(ts))
	for i, t := range ts {
		t.join(ctx, i, ready)
	}
	var err error
	for range ts {
		select {
		case i := <-ready:
			err = ts[i].result()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		for _, t := range ts {
			t.leave(ctx)
		}
	}
	return err
}

// wait waits for one flight; the caller owns the value.
func wait[T any](ctx context.Context, f *flight[T]) (T, error) {
	t := f.ticket()
	err := await(ctx, []interest{t})
	return t.value, err
}

// waitAll waits for flights of one kind; the caller owns the values.
func waitAll[T any](ctx context.Context, fs []*flight[T]) ([]T, error) {
	tickets := make([]*ticket[T], len(fs))
	ts := make([]interest, len(fs))
	for i, f := range fs {
		tickets[i] = f.ticket()
		ts[i] = tickets[i]
	}
	if err := await(ctx, ts); err != nil {
		return nil, err
	}
	values := make([]T, len(fs))
	for i, t := range tickets {
		values[i] = t.value
	}
	return values, nil
}
