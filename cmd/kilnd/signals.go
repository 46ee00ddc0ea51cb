package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/log"
)

var (
	errStopped = fmt.Errorf("got SIGTERM/SIGINT, stopping: %w", context.Canceled)
	errForced  = errors.New("got SIGTERM/SIGINT, forcing shutdown")
)

// stopping is how far the operator's wish to stop has gone.
type stopping struct {
	// run ends with the first signal: work is cancelled.
	run context.Context
	// shutdown ends with the second: nobody waits for the end of anything.
	shutdown context.Context
	end      context.CancelFunc
}

// watchSignals turns signals into the end of contexts; the third calls exit.
func watchSignals(ctx context.Context, signals <-chan os.Signal, exit func(int)) *stopping {
	watch, end := context.WithCancel(ctx)
	shutdown, force := context.WithCancelCause(watch)
	run, stop := context.WithCancelCause(shutdown)
	go func() {
		for n := 1; ; n++ {
			select {
			case s := <-signals:
				log.G(ctx).Infof("got %v (%d)", s, n)
			case <-watch.Done():
				return
			}
			switch n {
			case 1:
				stop(errStopped)
			case 2:
				force(errForced)
			default:
				exit(1)
				return
			}
		}
	}()
	return &stopping{run: run, shutdown: shutdown, end: end}
}
