package graph

import (
	"context"
	"sync"
)

// crew counts goroutines. Unlike a sync.WaitGroup it may be waited for while
// others join, and the wait ends with a context.
type crew struct {
	mu sync.Mutex
	n  int
	// idle is closed when n becomes zero; nil if nobody waits.
	idle chan struct{}
}

// start runs fn in a goroutine.
func (c *crew) start(fn func()) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	go func() {
		defer c.finish()
		fn()
	}()
}

func (c *crew) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// wait waits until nothing runs, or returns the cause of ctx's end.
func (c *crew) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
