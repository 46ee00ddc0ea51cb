package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// WaitTimeout bounds how long callers should wait for a session to appear.
const WaitTimeout = 5 * time.Second

// maxSessions bounds what clients can make the daemon hold.
const maxSessions = 10000

// ErrNone is returned when no session is there to be asked.
var ErrNone = errors.New("no active sessions")

// Manager has the sessions that are open now.
type Manager struct {
	mu       sync.Mutex
	sessions map[string]*Session
	// changed is closed and replaced whenever a session is added.
	changed chan struct{}
}

// NewManager returns a Manager without sessions.
func NewManager() *Manager {
	return &Manager{sessions: map[string]*Session{}, changed: make(chan struct{})}
}

// Options describe a session; they come from the request that opens it.
type Options struct {
	// ID is chosen by the client.
	ID string
	// SharedKey may be empty.
	SharedKey string
	// Methods the client serves, "/service/Method"; matched without case.
	Methods []string
	// HealthTimeout replaces the least time a health check is given; 0 for
	// the default.
	HealthTimeout time.Duration
}

// Serve runs a session over conn until it ends, and closes conn. It fails with
// errdefs AlreadyExists if the id is taken and InvalidArgument without an id.
func (m *Manager) Serve(ctx context.Context, conn net.Conn, opt Options) error {
	defer conn.Close()
	if opt.ID == "" {
		return fmt.Errorf("a session needs an id: %w", errdefs.ErrInvalidArgument)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := newSession(ctx, cancel, conn, opt)
	if err != nil {
		return err
	}
	defer s.close()
	if err := m.add(s); err != nil {
		return err
	}
	defer m.remove(s)
	s.watchHealth(ctx)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (m *Manager) add(s *Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.sessions[s.id]; ok {
		return fmt.Errorf("session %s: %w", s.id, errdefs.ErrAlreadyExists)
	}
	if len(m.sessions) >= maxSessions {
		return fmt.Errorf("more than %d sessions: %w", maxSessions, errdefs.ErrResourceExhausted)
	}
	m.sessions[s.id] = s
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

func (m *Manager) remove(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.id] == s {
		delete(m.sessions, s.id)
	}
}

// Get returns the session with an id, waiting for it to be opened until ctx
// ends. A prefix "name:" of the id is ignored: clients use it to tell their
// stores apart.
func (m *Manager) Get(ctx context.Context, id string) (*Session, error) {
	id = bareID(id)
	if id == "" {
		return nil, ErrNone
	}
	for {
		m.mu.Lock()
		s, changed := m.sessions[id], m.changed
		m.mu.Unlock()
		if s != nil && s.ctx.Err() == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no active session for %s: %w", id, context.Cause(ctx))
		case <-changed:
		}
	}
}

// bareID is an id without the prefix of a store.
func bareID(id string) string {
	if _, after, ok := strings.Cut(id, ":"); ok {
		return after
	}
	return id
}

// Any calls f with the sessions of ids in order until one succeeds, and
// returns the last error. Each session is waited for at most WaitTimeout. A
// session that ends while f uses it counts as failed, and the error says so:
// the next one is asked.
func (m *Manager) Any(ctx context.Context, ids []string, f func(ctx context.Context, s *Session) error) error {
	last := ErrNone
	var lost []string
	for _, id := range ids {
		wait, cancel := context.WithTimeoutCause(ctx, WaitTimeout, context.DeadlineExceeded)
		s, err := m.Get(wait, id)
		cancel()
		if err == nil {
			if err = f(ctx, s); err != nil && s.ctx.Err() != nil {
				lost = append(lost, s.id)
			}
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		last = err
	}
	if len(lost) > 0 {
		return fmt.Errorf("%w (lost session %s)", last, strings.Join(lost, ", "))
	}
	return last
}

// Has tells whether a session is open now.
func (m *Manager) Has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.sessions[id]
	return ok
}

// Len returns how many sessions are open.
func (m *Manager) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions)
}
