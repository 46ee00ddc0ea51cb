package systemd

import (
	"context"
	"time"
)

// WaitIdle returns nil when there was no connection through the gate and no
// work for the time, and leaves the gate shut: the process may end, and whoever
// connects from then on waits for the next one. work returns how much there is,
// and a channel that is closed when that may have changed. The error is that of
// ctx.
func WaitIdle(ctx context.Context, g *Gate, quiet time.Duration, work func() (int, <-chan struct{})) error {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		connections, came := g.Watch()
		running, changed := work()
		if connections == 0 && running == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-came:
			case <-changed:
			case <-timer.C:
				if done, err := end(ctx, g, work); done || err != nil {
					return err
				}
			}
			// Whatever happened, the time begins anew.
			timer.Reset(quiet)
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-came:
		case <-changed:
		}
		timer.Reset(quiet)
	}
}

// end shuts the gate for good, unless somebody slipped through at the last
// moment.
func end(ctx context.Context, g *Gate, work func() (int, <-chan struct{})) (bool, error) {
	connections := g.Shut()
	running, _ := work()
	if connections == 0 && running == 0 {
		return true, nil
	}
	g.Open()
	return false, ctx.Err()
}
