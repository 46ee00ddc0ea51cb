package exporttest

import (
	"slices"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/solver"
)

// Env is what an exporter is told of its build.
type Env struct {
	// IDs of the build's sessions.
	IDs []string

	mu       sync.Mutex
	statuses []*solver.StatusEvent
}

var _ solver.Env = (*Env)(nil)

// Sessions implements solver.Env.
func (e *Env) Sessions() []string { return e.IDs }

// Emit implements solver.Env.
func (e *Env) Emit(ev solver.Event) {
	if ev.Status == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.statuses = append(e.statuses, ev.Status)
}

// Completed returns the ids of the statuses that ended, in that order.
func (e *Env) Completed() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, s := range e.statuses {
		if s.Completed != nil {
			out = append(out, s.ID)
		}
	}
	return out
}

// Saw reports whether a status whose id begins with prefix has ended.
func (e *Env) Saw(prefix string) bool {
	return slices.ContainsFunc(e.Completed(), func(id string) bool { return strings.HasPrefix(id, prefix) })
}
