package systemd

import (
	"context"
	"strconv"
	"time"
)

// WatchdogInterval is how often the manager wants to hear from this process; 0
// is never.
func WatchdogInterval(env Environment) time.Duration {
	pid, usec := env.take("WATCHDOG_PID"), env.take("WATCHDOG_USEC")
	if pid != "" && pid != strconv.Itoa(env.PID) {
		return 0 // It is for the process that started this one.
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > int64(1<<62)/int64(time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// Guard pings the manager twice in each interval while alive answers, until ctx
// ends. A service that stops answering is not pinged for, and so is started
// again by the manager. alive gets half the interval; an alive that hangs holds
// back the pings as an error does, and is not called again before it returns.
// fault is told of every failure.
func Guard(ctx context.Context, n *Notifier, interval time.Duration, alive func(ctx context.Context) error, fault func(error)) {
	if n == nil || interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		check, cancel := context.WithTimeout(ctx, interval/2)
		err := alive(check)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = n.ping()
		}
		if err != nil {
			fault(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
