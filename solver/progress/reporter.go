package progress

import (
	"sync"
	"time"

	"github.com/kilnbuild/kiln/solver"
)

// DefaultEvery is the least time between two reports of a Counter.
const DefaultEvery = 120 * time.Millisecond

// Emitter takes events; solver.Env is one.
type Emitter interface {
	Emit(solver.Event)
}

// Reporter makes steps and counters for an op. The zero values of Now and
// Every mean time.Now and DefaultEvery.
type Reporter struct {
	To    Emitter
	Now   func() time.Time
	Every time.Duration
}

func (r Reporter) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// Status reports that an activity named id started and returns its handle; name
// classifies it and is often empty. Call Done when it ends.
//
//	defer progress.Status(env, "exporting layers", "").Done()
func Status(to Emitter, id, name string) *Step {
	return Reporter{To: to}.Status(id, name)
}

// Status is the package's Status with the reporter's clock.
func (r Reporter) Status(id, name string) *Step {
	now := r.now()
	s := &Step{reporter: r, state: solver.StatusEvent{ID: id, Name: name, Started: &now}}
	s.emit(now)
	return s
}

// Step is one activity that starts and ends. It is for use by one goroutine.
type Step struct {
	reporter Reporter
	state    solver.StatusEvent
}

// Progress reports how far the activity is, in bytes or items; total is zero
// if not known. It is not rate-limited: use a Counter for many small steps.
func (s *Step) Progress(current, total int64) {
	s.state.Current, s.state.Total = current, total
	s.emit(s.reporter.now())
}

// Done reports the end. Calling it again does nothing.
func (s *Step) Done() {
	if s.state.Completed != nil {
		return
	}
	now := s.reporter.now()
	s.state.Completed = &now
	s.emit(now)
}

func (s *Step) emit(now time.Time) {
	ev := s.state
	ev.Timestamp = now
	s.reporter.To.Emit(solver.Event{Status: &ev})
}

// Counter reports an activity that is measured in bytes or items. Reports are
// rate-limited, the first and the last are always sent. It is safe for
// concurrent use.
type Counter struct {
	mu   sync.Mutex
	step *Step
	last time.Time
}

// Counter starts an activity; total is zero if the end is not known.
func (r Reporter) Counter(id, name string, total int64) *Counter {
	now := r.now()
	c := &Counter{last: now, step: &Step{
		reporter: r,
		state:    solver.StatusEvent{ID: id, Name: name, Total: total, Started: &now},
	}}
	c.step.emit(now)
	return c
}

// Add counts n more.
func (c *Counter) Add(n int64) {
	c.update(func(ev *solver.StatusEvent) { ev.Current += n })
}

// Set says where the count is and, if it is not negative, what its end is.
func (c *Counter) Set(current, total int64) {
	c.update(func(ev *solver.StatusEvent) {
		ev.Current = current
		if total >= 0 {
			ev.Total = total
		}
	})
}

// Write counts the bytes of p, so that a Counter fits behind io.TeeReader and
// io.MultiWriter. It never fails.
func (c *Counter) Write(p []byte) (int, error) {
	c.Add(int64(len(p)))
	return len(p), nil
}

// Done reports the end with the last count. Calling it again does nothing.
func (c *Counter) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step.Done()
}

func (c *Counter) update(change func(*solver.StatusEvent)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.step.state.Completed != nil {
		return
	}
	change(&c.step.state)
	every := c.step.reporter.Every
	if every == 0 {
		every = DefaultEvery
	}
	if now := c.step.reporter.now(); now.Sub(c.last) >= every {
		c.last = now
		c.step.emit(now)
	}
}
