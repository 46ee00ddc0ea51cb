package plugin

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// slots bounds how many steps run at once, and counts them.
type slots struct {
	// limit is nil for no bound.
	limit            *semaphore.Weighted
	waiting, running atomic.Int64
}

// newSlots returns n slots; 0 is no bound.
func newSlots(n int) *slots {
	s := &slots{}
	if n > 0 {
		s.limit = semaphore.NewWeighted(int64(n))
	}
	return s
}

// Acquire waits for n slots.
func (s *slots) Acquire(ctx context.Context, n int64) error {
	if s.limit != nil {
		s.waiting.Add(1)
		err := s.limit.Acquire(ctx, n)
		s.waiting.Add(-1)
		if err != nil {
			return err
		}
	}
	s.running.Add(n)
	return nil
}

// Release gives n slots back.
func (s *slots) Release(n int64) {
	s.running.Add(-n)
	if s.limit != nil {
		s.limit.Release(n)
	}
}
