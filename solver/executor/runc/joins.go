package runc

import (
	"sync"
	"time"
)

// joins counts the processes that the runtime is bringing into a container. The
// container is not killed meanwhile: a runtime that finds it dying gives up and
// leaves its own half-made processes behind. They are dead, but count as living
// in the container until somebody reaps them, and where nobody does, in a
// container without an init for instance, the container would never end.
//
// The zero value is ready.
type joins struct {
	mu sync.Mutex
	n  int
	// over says that the container is about to be killed: nobody joins any more.
	over bool
	// idle is closed when over is set and n is 0.
	idle chan struct{}
}

// enter counts one more, unless the container is about to be killed.
func (j *joins) enter() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.over {
		j.n++
	}
	return !j.over
}

// leave counts one in: it runs, or has failed for good.
func (j *joins) leave() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n--
	if j.over && j.n == 0 {
		close(j.idle)
	}
}

// stop lets nobody enter any more and waits for those who have, at most as long
// as told and until done is closed. It is called once.
func (j *joins) stop(limit time.Duration, done <-chan struct{}) {
	j.mu.Lock()
	j.over, j.idle = true, make(chan struct{})
	if j.n == 0 {
		close(j.idle)
	}
	idle := j.idle
	j.mu.Unlock()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-idle:
	case <-done:
	case <-timeout.C:
	}
}
