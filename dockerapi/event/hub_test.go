package event

import (
	"fmt"
	"testing"
	"time"
)

func TestHub(t *testing.T) {
	now := time.Unix(100, 0)
	h := NewHub(func() time.Time { return now })
	for i := range remembered + 10 {
		h.Publish(Event{ID: fmt.Sprint(i)})
	}
	past, s := h.Subscribe()
	if len(past) != remembered || past[0].ID != "10" || !past[0].Time.Equal(now) {
		t.Errorf("remembers %d, first %+v", len(past), past[0])
	}
	h.Publish(Event{ID: "new"})
	if got := <-s.Events(); got.ID != "new" {
		t.Errorf("told %+v", got)
	}
	// Who does not listen holds nobody up.
	for range 2 * backlog {
		h.Publish(Event{})
	}
	if n := h.Listeners(); n != 1 {
		t.Errorf("%d listeners", n)
	}
	s.Close()
	s.Close()
	if n := h.Listeners(); n != 0 {
		t.Errorf("%d listeners after the end", n)
	}
	(*Hub)(nil).Publish(Event{})
}
