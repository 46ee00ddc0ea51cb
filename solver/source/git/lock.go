package git

import (
	"context"
	"sync"
)

// locks are locks by name.
type locks struct {
	mu    sync.Mutex
	names map[string]*namedLock
}

// namedLock is there while somebody has or wants it.
type namedLock struct {
	held chan struct{}
	n    int
}

// lock waits for the lock of that name until ctx ends.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.names == nil {
		l.names = map[string]*namedLock{}
	}
	k := l.names[name]
	if k == nil {
		k = &namedLock{held: make(chan struct{}, 1)}
		l.names[name] = k
	}
	k.n++
	l.mu.Unlock()
	drop := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.n--; k.n == 0 {
			delete(l.names, name)
		}
	}
	select {
	case k.held <- struct{}{}:
		return sync.OnceFunc(func() { <-k.held; drop() }), nil
	case <-ctx.Done():
		drop()
		return nil, context.Cause(ctx)
	}
}
