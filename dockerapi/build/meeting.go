package build

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/upload"
)

// meetWithin bounds how long two requests wait for each other.
const meetWithin = 5 * time.Second

// meeting is where requests that bring contexts meet those that want them. The
// zero value is ready.
type meeting struct {
	mu    sync.Mutex
	rooms map[string]*room
}

// room is where two requests of one build meet.
type room struct {
	// here is closed when the one that brings has come.
	here chan struct{}
	// brought is what it brings, when it has read all of it.
	brought chan delivery
	taken   bool
}

type delivery struct {
	files *upload.Context
	err   error
}

// enter returns the room of a build; either side may be the first.
func (m *meeting) enter(id string) *room {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rooms == nil {
		m.rooms = map[string]*room{}
	}
	if m.rooms[id] == nil {
		m.rooms[id] = &room{here: make(chan struct{}), brought: make(chan delivery)}
	}
	return m.rooms[id]
}

// come is enter for the one that brings; there may be only one.
func (m *meeting) come(id string) (*room, error) {
	r := m.enter(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.taken {
		return nil, fmt.Errorf("the context of build %s is being uploaded: %w", id, errdefs.ErrConflict)
	}
	r.taken = true
	close(r.here)
	return r, nil
}

func (m *meeting) leave(id string, r *room) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rooms[id] == r {
		delete(m.rooms, id)
	}
}

// wait returns the context that another request brings.
func (m *meeting) wait(ctx context.Context, id string) (*upload.Context, error) {
	if id == "" {
		return nil, fmt.Errorf("remote=%s needs a buildid: %w", remoteUpload, errdefs.ErrInvalidArgument)
	}
	r := m.enter(id)
	defer m.leave(id, r)
	late := time.NewTimer(meetWithin)
	defer late.Stop()
	select {
	case <-r.here:
	case <-late.C:
		return nil, fmt.Errorf("no context is uploaded for build %s: %w", id, errdefs.ErrNotFound)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case d := <-r.brought:
		return d.files, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// bring answers the request that brings a context.
func (s *Server) bring(w http.ResponseWriter, r *http.Request, p *parameters) error {
	if p.id == "" {
		return fmt.Errorf("an upload needs a build id: %w", errdefs.ErrInvalidArgument)
	}
	at, err := s.meeting.come(p.id)
	if err != nil {
		return s.drained(w, r, err)
	}
	defer s.meeting.leave(p.id, at)
	files, err := s.receive(r.Context(), w, r)
	wait, cancel := context.WithTimeout(r.Context(), meetWithin)
	defer cancel()
	select {
	case at.brought <- delivery{files, err}:
		if err != nil {
			return s.drained(w, r, err)
		}
		w.WriteHeader(http.StatusOK)
		return nil
	case <-wait.Done():
	}
	if err != nil {
		return s.drained(w, r, err)
	}
	_ = files.Close() // There is nothing of it that anybody wants.
	return fmt.Errorf("nobody wants the context of build %s: %w", p.id, errdefs.ErrNotFound)
}
