package sourcetest

import (
	"bytes"
	"sync"

	"github.com/kilnbuild/kiln/solver"
)

// Env is what a source is told of its build.
type Env struct {
	// IDs are the sessions.
	IDs []string

	mu   sync.Mutex
	logs bytes.Buffer
}

// Sessions implements solver.Env.
func (e *Env) Sessions() []string { return e.IDs }

// Emit implements solver.Env.
func (e *Env) Emit(ev solver.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Log != nil {
		e.logs.Write(ev.Log.Data)
	}
}

// Logs returns what was logged so far.
func (e *Env) Logs() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.logs.String()
}

var _ solver.Env = (*Env)(nil)
