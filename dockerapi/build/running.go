package build

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/containerd/errdefs"
)

// running has the builds that can be cancelled, by the id the client chose. The
// zero value is ready.
type running struct {
	mu     sync.Mutex
	cancel map[string]context.CancelCauseFunc
}

// begin enters a build, which ends with end or the returned context. Without an
// id it cannot be cancelled by one.
func (r *running) begin(ctx context.Context, id string) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	if id == "" {
		return ctx, func() { cancel(nil) }, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel == nil {
		r.cancel = map[string]context.CancelCauseFunc{}
	}
	if _, ok := r.cancel[id]; ok {
		cancel(nil)
		return nil, nil, fmt.Errorf("build %s is running: %w", id, errdefs.ErrConflict)
	}
	r.cancel[id] = cancel
	return ctx, func() {
		r.mu.Lock()
		delete(r.cancel, id)
		r.mu.Unlock()
		cancel(nil)
	}, nil
}

// cancel answers POST /build/cancel. A build that is not there has ended.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request, _ string) error {
	id := r.FormValue("id")
	if id == "" {
		return fmt.Errorf("build ID not provided: %w", errdefs.ErrInvalidArgument)
	}
	s.running.mu.Lock()
	cancel := s.running.cancel[id]
	s.running.mu.Unlock()
	if cancel != nil {
		cancel(errCancelled)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
