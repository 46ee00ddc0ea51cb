package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/containerd/log"
)

var (
	errStopped = fmt.Errorf("got SIGTERM/SIGINT, stopping: %w", context.Canceled)
	errForced  = errors.New("got SIGTERM/SIGINT, forcing shutdown")
)

// errIdle ends a daemon that nobody needs.
var errIdle = fmt.Errorf("no client and no build for the set time: %w", context.Canceled)

// stopping is how far the operator's wish to stop has gone.
type stopping struct {
	// run ends with the first signal: work is cancelled. With a drain it ends
	// when that is over, or with the next signal.
	run context.Context
	// shutdown ends with the signal after that: nobody waits for the end of anything.
	shutdown context.Context
	end      context.CancelFunc
	// stop ends run.
	stop  context.CancelCauseFunc
	force context.CancelCauseFunc

	mu sync.Mutex
	// drain lets work end in peace; nil cancels it.
	drain func(ctx context.Context)
}

// watchSignals turns signals into the end of contexts; the one after the last calls exit.
func watchSignals(ctx context.Context, signals <-chan os.Signal, exit func(int)) *stopping {
	watch, end := context.WithCancel(ctx)
	s := &stopping{end: end}
	s.shutdown, s.force = context.WithCancelCause(watch)
	s.run, s.stop = context.WithCancelCause(s.shutdown)
	go func() {
		for n := 1; ; n++ {
			select {
			case got := <-signals:
				log.G(ctx).Infof("got %v (%d)", got, n)
			case <-watch.Done():
				return
			}
			if !s.further() {
				exit(1)
				return
			}
		}
	}()
	return s
}

// further goes one step towards the end; it is false behind the last.
func (s *stopping) further() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	drain := s.drain
	s.drain = nil
	switch {
	case s.run.Err() == nil && drain != nil:
		go func() {
			drain(s.run)
			s.stop(errStopped)
		}()
	case s.run.Err() == nil:
		s.stop(errStopped)
	case s.shutdown.Err() == nil:
		s.force(errForced)
	default:
		return false
	}
	return true
}

// draining makes the first signal call drain, and the end of that end run.
func (s *stopping) draining(drain func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drain = drain
}
