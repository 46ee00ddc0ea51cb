package session

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxMemo bounds what is remembered for one session.
const maxMemo = 10000

// Memo remembers for the length of a session what was found out for it, so
// that all steps of its builds see the same answer: which commit a branch
// names, which bytes a URL has. It holds plain values only, nothing that wants
// releasing. The zero value is not usable; see NewMemo.
type Memo[V any] struct {
	// Wait bounds how long a session is waited for that is not open yet;
	// WaitTimeout unless it is changed before the first use.
	Wait time.Duration

	sessions *Manager

	mu      sync.Mutex
	answers map[string]map[string]*answer[V]
}

// answer is what one question got or will get.
type answer[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// NewMemo returns an empty Memo.
func NewMemo[V any](sessions *Manager) *Memo[V] {
	return &Memo[V]{Wait: WaitTimeout, sessions: sessions, answers: map[string]map[string]*answer[V]{}}
}

// Do returns the answer to a question, asking at most once for the first open
// session of ids. If none is open yet, one is waited for: builds may begin
// before their sessions. Errors are not remembered. Without a session it asks
// every time.
func (m *Memo[V]) Do(ctx context.Context, ids []string, question string, ask func(context.Context) (V, error)) (V, error) {
	s := m.sessions.await(ctx, ids, m.Wait)
	if s == nil {
		return ask(ctx)
	}
	for {
		a, mine := m.enter(s, question)
		if a == nil {
			return ask(ctx)
		}
		if mine {
			a.value, a.err = ask(ctx)
			if a.err != nil {
				m.forget(s.id, question, a)
			}
			close(a.done)
			return a.value, a.err
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return a.value, context.Cause(ctx)
		}
		// The one who asked may have been cancelled; that is not our answer.
		if a.err == nil || !errors.Is(a.err, context.Canceled) || ctx.Err() != nil {
			return a.value, a.err
		}
	}
}

// Forget drops the answer to a question, if it is known, for every session of
// ids: it turned out to be of no use.
func (m *Memo[V]) Forget(ids []string, question string) {
	if s := m.sessions.first(ids); s != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.answers[s.id], question)
	}
}

// enter returns the answer to wait for, or one that the caller must give; nil
// if there are too many.
func (m *Memo[V]) enter(s *Session, question string) (a *answer[V], mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.answers[s.id]
	if known == nil {
		known = map[string]*answer[V]{}
		m.answers[s.id] = known
		context.AfterFunc(s.ctx, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.answers, s.id)
		})
	}
	if a = known[question]; a != nil {
		return a, false
	}
	if len(known) >= maxMemo {
		return nil, false
	}
	a = &answer[V]{done: make(chan struct{})}
	known[question] = a
	return a, true
}

func (m *Memo[V]) forget(id, question string, a *answer[V]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answers[id][question] == a {
		delete(m.answers[id], question)
	}
}

// AtEnd calls fn, in a goroutine of its own, once the first open session of ids
// has ended: what is remembered for a session may be held as long. If none is
// open, it returns false and fn is not called.
func (m *Manager) AtEnd(ids []string, fn func()) bool {
	s := m.first(ids)
	if s == nil {
		return false
	}
	context.AfterFunc(s.ctx, fn)
	return true
}

// await returns the first open session of ids, waiting for one to be opened at
// most as long as told; nil if none is.
func (m *Manager) await(ctx context.Context, ids []string, wait time.Duration) *Session {
	if s := m.first(ids); s != nil || len(ids) == 0 {
		return s
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		// Looked up after the channel was taken, so that none is missed.
		if s := m.first(ids); s != nil {
			return s
		}
		select {
		case <-changed:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// first returns the first session of ids that is open now, or nil.
func (m *Manager) first(ids []string) *Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if s := m.sessions[bareID(id)]; s != nil && s.ctx.Err() == nil {
			return s
		}
	}
	return nil
}
