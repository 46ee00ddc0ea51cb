package plugin

import (
	"context"
	"testing"
	"time"
)

// TestSlotsCount: who waits and who runs can be told at any time.
func TestSlotsCount(t *testing.T) {
	s := newSlots(1)
	if err := s.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 2)
	for _, c := range []context.Context{ctx, t.Context()} {
		go func() { given <- s.Acquire(c, 1) }()
	}
	expect := func(running, waiting int64) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			r, w := s.running.Load(), s.waiting.Load()
			if r == running && w == waiting {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d run and %d wait, want %d and %d", r, w, running, waiting)
			}
		}
	}
	expect(1, 2)
	cancel()
	if err := <-given; err == nil {
		t.Error("a slot after the end")
	}
	expect(1, 1)
	s.Release(1)
	if err := <-given; err != nil {
		t.Error(err)
	}
	expect(1, 0)
	s.Release(1)
	expect(0, 0)

	free := newSlots(0)
	for range 3 {
		if err := free.Acquire(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := free.running.Load(); n != 3 {
		t.Errorf("%d run", n)
	}
}
