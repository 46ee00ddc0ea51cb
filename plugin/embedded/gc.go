package embedded

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/log"
)

// GC says when to collect. The zero value means the defaults.
type GC struct {
	// Delay is the time from a deletion to the collection it causes; deletions within it share one. 0 means 200 ms.
	Delay time.Duration
	// PauseShare is the largest share of the time that collections may hold writers up, at most 0.5. 0 means 0.02.
	PauseShare float64
	// Mutations is after how many changes without a deletion a collection runs all the same, for leases that expire.
	// 0 means 500.
	Mutations int
	// Startup is the time from Open to the first collection, which finds what an earlier process left. 0 means 5 s.
	Startup time.Duration
}

func (g GC) withDefaults() GC {
	if g.Delay <= 0 {
		g.Delay = 200 * time.Millisecond
	}
	if g.PauseShare <= 0 {
		g.PauseShare = 0.02
	}
	g.PauseShare = min(g.PauseShare, 0.5)
	if g.Mutations <= 0 {
		g.Mutations = 500
	}
	if g.Startup <= 0 {
		g.Startup = 5 * time.Second
	}
	return g
}

// errCollectorStopped answers those who wait for a collection when the host closes.
var errCollectorStopped = errors.New("garbage collector has stopped")

// outcome is what a collection came to.
type outcome struct {
	stats gc.Stats
	err   error
}

// collector runs collections one at a time in its own goroutine.
type collector struct {
	collect func(context.Context) (gc.Stats, error)
	config  GC

	mu        sync.Mutex
	stopped   bool
	waiters   []chan outcome
	mutations int
	deleted   bool

	wake chan struct{} // capacity 1
	stop context.CancelFunc
	done chan struct{}
}

// startCollector starts the goroutine; close ends it. ctx gives values, not its end.
func startCollector(ctx context.Context, config GC, collect func(context.Context) (gc.Stats, error)) *collector {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &collector{
		collect: collect, config: config.withDefaults(),
		wake: make(chan struct{}, 1), stop: cancel, done: make(chan struct{}),
		deleted: true, // by whoever ran before
	}
	c.signal()
	go c.run(ctx)
	return c
}

// mutated is told of every change of the metadata; dirty says that something was deleted since the last collection.
func (c *collector) mutated(dirty bool) {
	c.mu.Lock()
	c.mutations++
	notify := dirty && !c.deleted || c.mutations == c.config.Mutations
	c.deleted = c.deleted || dirty
	c.mu.Unlock()
	if notify {
		c.signal()
	}
}

func (c *collector) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ScheduleAndWait collects at once and returns when that is done. A collection that is already running does not count,
// as it may have looked before the caller's deletion. It is the method that containerd's services ask of a scheduler.
func (c *collector) ScheduleAndWait(ctx context.Context) (gc.Stats, error) {
	answer := make(chan outcome, 1)
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return nil, errCollectorStopped
	}
	c.waiters = append(c.waiters, answer)
	c.mu.Unlock()
	c.signal()
	select {
	case o := <-answer:
		return o.stats, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close stops the collector after the collection that runs.
func (c *collector) close() {
	c.stop()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, w := range c.waiters {
		w <- outcome{err: errCollectorStopped}
	}
	c.waiters = nil
}

func (c *collector) run(ctx context.Context) {
	defer close(c.done)
	rest := c.config.Startup // owed to the writers since last
	last := time.Now()
	for c.due(ctx, last, rest) {
		c.mu.Lock()
		waiters := c.waiters
		c.waiters, c.mutations, c.deleted = nil, 0, false
		c.mu.Unlock()

		start := time.Now()
		stats, err := c.collect(withCollection(context.WithoutCancel(ctx)))
		last = time.Now()
		pause := last.Sub(start)
		if err != nil {
			log.G(ctx).WithError(err).Error("garbage collection failed")
			c.mu.Lock()
			c.deleted = true // still to be done; not before the rest, so that a full disk is no busy loop
			c.mu.Unlock()
			pause = max(pause, 100*time.Millisecond)
			c.signal()
		} else {
			pause = stats.Elapsed() // writers wait for the marking only, not for the deletion of files
		}
		rest = time.Duration(float64(pause) / c.config.PauseShare)
		for _, w := range waiters {
			w <- outcome{stats, err}
		}
	}
}

// due waits until a collection should run; it returns false when ctx has ended. Somebody who waits is served at once;
// deletions wait for the delay and for the rest since the last collection.
func (c *collector) due(ctx context.Context, last time.Time, rest time.Duration) bool {
	var timer <-chan time.Time
	for {
		select {
		case <-c.wake:
		case <-timer:
			return true
		case <-ctx.Done():
			return false
		}
		c.mu.Lock()
		urgent, wanted := len(c.waiters) > 0, c.deleted || c.mutations >= c.config.Mutations
		c.mu.Unlock()
		if urgent {
			return true
		}
		if wanted && timer == nil {
			timer = time.After(max(c.config.Delay, rest-time.Since(last)))
		}
	}
}
