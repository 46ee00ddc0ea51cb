package embedded

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
)

// noPause is the outcome of a collection that held nobody up.
type noPause struct{}

func (noPause) Elapsed() time.Duration { return 0 }

func TestCollectorFollowsDeletions(t *testing.T) {
	ran := make(chan struct{}, 100)
	c := startCollector(t.Context(), GC{Delay: time.Millisecond, Startup: time.Nanosecond}, func(context.Context) (gc.Stats, error) {
		ran <- struct{}{}
		return noPause{}, nil
	})
	defer c.close()
	<-ran // the first one, for what was left over
	c.mutated(false)
	c.mutated(true)
	<-ran
	if _, err := c.ScheduleAndWait(t.Context()); err != nil {
		t.Error(err)
	}
	<-ran
	for range 500 {
		c.mutated(false)
	}
	<-ran
}

func TestCollectorErrors(t *testing.T) {
	broken := errors.New("disk is broken")
	c := startCollector(t.Context(), GC{Startup: time.Hour}, func(context.Context) (gc.Stats, error) { return nil, broken })
	if _, err := c.ScheduleAndWait(t.Context()); !errors.Is(err, broken) {
		t.Errorf("waiter got %v", err)
	}
	c.close()
	if _, err := c.ScheduleAndWait(t.Context()); !errors.Is(err, errCollectorStopped) {
		t.Errorf("after close: %v", err)
	}
}

// TestBarrier checks that a run of the collector waits for one safe point before its first deletion, and that nothing
// is deleted when there can be none.
func TestBarrier(t *testing.T) {
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var syncs atomic.Int32
	var refuse error
	guarded := &guardedContent{Store: store, sync: func(context.Context) error { syncs.Add(1); return refuse }}
	run := withCollection(t.Context())
	for _, missing := range []string{"a", "b"} {
		if err := guarded.Delete(run, digest.FromString(missing)); err != nil {
			t.Error(err)
		}
	}
	if n := syncs.Load(); n != 1 {
		t.Errorf("%d syncs in one run", n)
	}
	refuse = errors.New("disk is full")
	if err := guarded.Delete(withCollection(t.Context()), digest.FromString("a")); !errors.Is(err, refuse) {
		t.Errorf("deletion without a safe point: %v", err)
	}
	if err := guarded.Delete(t.Context(), digest.FromString("a")); !errors.Is(err, refuse) {
		t.Errorf("deletion outside of a run: %v", err)
	}
}
