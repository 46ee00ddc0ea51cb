package event

import (
	"sync"
	"time"
)

const (
	// remembered is how many events a new listener can still be told.
	remembered = 256
	// backlog is how many events a slow listener may be behind.
	backlog = 1024
)

// Types of objects that events are about.
const (
	TypeImage   = "image"
	TypeBuilder = "builder"
)

// Event is one thing that happened.
type Event struct {
	// Type is that of the object, Action what happened to it.
	Type, Action string
	// ID names the object; empty for the builder.
	ID string
	// Attributes tell more of it. Nobody changes the map after Publish.
	Attributes map[string]string
	// Time is set by Publish.
	Time time.Time
}

// Hub is where events are told. Use NewHub.
type Hub struct {
	now func() time.Time

	mu        sync.Mutex
	past      []Event
	listeners map[*Subscription]struct{}
}

// NewHub returns a Hub; now is nil for the real time.
func NewHub(now func() time.Time) *Hub {
	if now == nil {
		now = time.Now
	}
	return &Hub{now: now, listeners: map[*Subscription]struct{}{}}
}

// Publish tells everybody who listens. A nil Hub tells nobody.
func (h *Hub) Publish(e Event) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e.Time = h.now()
	if len(h.past) == remembered {
		h.past = append(h.past[:0], h.past[1:]...)
	}
	h.past = append(h.past, e)
	for s := range h.listeners {
		select {
		case s.events <- e:
		default:
			// It does not keep up.
		}
	}
}

// Subscription is one listener.
type Subscription struct {
	hub    *Hub
	events chan Event
}

// Subscribe returns what is remembered, oldest first, and a subscription to
// what follows; nothing is missed or told twice in between.
func (h *Hub) Subscribe() ([]Event, *Subscription) {
	s := &Subscription{hub: h, events: make(chan Event, backlog)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[s] = struct{}{}
	return append([]Event(nil), h.past...), s
}

// Events is where events arrive. It is never closed.
func (s *Subscription) Events() <-chan Event { return s.events }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.listeners, s)
}

// Listeners is how many subscriptions there are.
func (h *Hub) Listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners)
}
