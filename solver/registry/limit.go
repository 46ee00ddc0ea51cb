package registry

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
)

// limits has the slots of each host.
type limits struct {
	size int64
	mu   sync.Mutex
	host map[string]*slots
}

// slots of one host: all requests take one of all, large ones also one of
// large, of which there is one less.
type slots struct {
	large, all *semaphore.Weighted
}

// acquire takes a slot and returns how to give it back; safe to call twice.
func (l *limits) acquire(ctx context.Context, host, mediaType string) (func(), error) {
	l.mu.Lock()
	if l.host == nil {
		l.host = map[string]*slots{}
	}
	s := l.host[host]
	if s == nil {
		s = &slots{large: semaphore.NewWeighted(l.size), all: semaphore.NewWeighted(l.size + 1)}
		l.host[host] = s
	}
	l.mu.Unlock()

	small := strings.HasSuffix(mediaType, "+json")
	if !small {
		if err := s.large.Acquire(ctx, 1); err != nil {
			return nil, context.Cause(ctx)
		}
	}
	if err := s.all.Acquire(ctx, 1); err != nil {
		if !small {
			s.large.Release(1)
		}
		return nil, context.Cause(ctx)
	}
	return sync.OnceFunc(func() {
		s.all.Release(1)
		if !small {
			s.large.Release(1)
		}
	}), nil
}
