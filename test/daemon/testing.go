package daemon

import (
	"context"
	"testing"
	"time"
)

// settleWithin bounds how long the daemon may take to clean up behind a build.
const settleWithin = 20 * time.Second

// Run starts a daemon for the time of the test. At its end nothing may be left
// mounted or running.
func Run(t testing.TB, cfg Config) *Daemon {
	t.Helper()
	d, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("prepare daemon: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kilnd said:\n%s", d.Said())
		}
		if err := d.Close(); err != nil {
			t.Errorf("stop daemon: %v", err)
		}
	})
	if _, err := d.Start(t.Context()); err != nil {
		t.Fatalf("start daemon: %v", err)
	}
	return d
}

// Look returns the daemon's footprint or ends the test.
func Look(t testing.TB, d *Daemon) Footprint {
	t.Helper()
	// The context of a test ends before its clean-up functions run.
	f, err := d.Footprint(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("look at daemon: %v", err)
	}
	return f
}

// Settle waits until the daemon has no more than it had at base, and fails the
// test naming what is left if that does not happen.
func Settle(t testing.TB, d *Daemon, base Footprint) {
	t.Helper()
	var left string
	for end := time.Now().Add(settleWithin); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if left = Look(t, d).Over(base); left == "" {
			return
		}
	}
	t.Errorf("the daemon leaked:\n%s\n%s", left, d.Stacks())
}
