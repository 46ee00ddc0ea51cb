package build

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// maxAnswers bounds what one build remembers; beyond, it asks again.
const maxAnswers = 10_000

// memo remembers answers for the length of a build: the same question is asked
// once, however many steps and frontends have it. The zero value is empty.
type memo[V any] struct {
	mu      sync.Mutex
	answers map[digest.Digest]*answer[V]
}

// answer is what one question got or will get.
type answer[V any] struct {
	done  chan struct{}
	value V
	err   error
	// void says that whoever asked went away before there was an answer.
	void bool
}

// do returns the answer to the question that key stands for. Errors are
// answers too, unless ctx ended: then the next one asks again.
func (m *memo[V]) do(ctx context.Context, key digest.Digest, ask func(context.Context) (V, error)) (V, error) {
	for {
		a, mine := m.enter(key)
		if a == nil {
			return ask(ctx)
		}
		if mine {
			return m.answer(ctx, key, a, ask)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			var none V
			return none, context.Cause(ctx)
		}
		if !a.void {
			return a.value, a.err
		}
	}
}

// enter returns the answer to wait for, or one that the caller must give; nil
// if there are too many.
func (m *memo[V]) enter(key digest.Digest) (a *answer[V], mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a = m.answers[key]; a != nil {
		return a, false
	}
	if len(m.answers) >= maxAnswers {
		return nil, false
	}
	if m.answers == nil {
		m.answers = map[digest.Digest]*answer[V]{}
	}
	a = &answer[V]{done: make(chan struct{}), void: true}
	m.answers[key] = a
	return a, true
}

// answer asks and wakes those who wait, even if ask panics.
func (m *memo[V]) answer(ctx context.Context, key digest.Digest, a *answer[V], ask func(context.Context) (V, error)) (V, error) {
	defer func() {
		if a.void {
			m.mu.Lock()
			delete(m.answers, key)
			m.mu.Unlock()
		}
		close(a.done)
	}()
	a.value, a.err = ask(ctx)
	a.void = ctx.Err() != nil
	return a.value, a.err
}
