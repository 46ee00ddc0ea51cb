package files

import (
	"context"
	"sync"
)

// queue is an unbounded queue of file numbers (four bytes for each entry of a
// walk, which is bounded itself) with an end mark.
type queue struct {
	mu     sync.Mutex
	ids    []uint32
	fin    bool
	closed bool
	wake   chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) push(id uint32) {
	q.mu.Lock()
	q.ids = append(q.ids, id)
	q.mu.Unlock()
	q.signal()
}

// finish marks the end: take reports it after the last number.
func (q *queue) finish() {
	q.mu.Lock()
	q.fin = true
	q.mu.Unlock()
	q.signal()
}

// close makes take return without waiting for an end mark.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// take waits for numbers or the end mark; ok is false once nothing more comes.
func (q *queue) take(ctx context.Context) (ids []uint32, fin, ok bool) {
	for {
		q.mu.Lock()
		ids, fin = q.ids, q.fin
		closed := q.closed
		q.ids = nil
		q.mu.Unlock()
		if len(ids) > 0 || fin {
			return ids, fin, true
		}
		if closed {
			return nil, false, false
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, false, false
		}
	}
}
