package progress

import (
	"sync"

	"github.com/kilnbuild/kiln/solver"
)

// hubLogBytes bounds the logs that a hub remembers for builds that join late.
const hubLogBytes = 256 << 10

// Hub passes what one speaker says to all sinks attached to it and remembers
// it for later ones. Use NewHub.
type Hub struct {
	mu    sync.Mutex
	tape  *tape
	sinks map[*sink]struct{}
}

type sink struct{ send func(solver.Event) }

// NewHub returns a hub without sinks.
func NewHub() *Hub {
	return &Hub{tape: newTape(hubLogBytes), sinks: map[*sink]struct{}{}}
}

// Emit passes ev to all sinks.
func (h *Hub) Emit(ev solver.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tape.add(ev)
	for s := range h.sinks {
		s.send(ev)
	}
}

// Attach calls send with everything that still matters of what was said, then
// with each further event, in order and never twice at once, until detach is
// called. After detach returned send is not called any more. detach may be
// called more than once.
func (h *Hub) Attach(send func(solver.Event)) (detach func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tape.since(0, send)
	s := &sink{send: send}
	h.sinks[s] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.sinks, s)
	}
}
