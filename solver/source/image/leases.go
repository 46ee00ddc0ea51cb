package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

const (
	// leaseStep is for how long resolutions share a lease, leaseLife how long
	// it lives. Expired leases are removed by containerd's collector.
	leaseStep = 15 * time.Minute
	leaseLife = 30 * time.Minute
)

// sharedLeases are the leases of resolutions: a lease for each would be two
// transactions more.
type sharedLeases struct {
	store leases.Manager
	now   func() time.Time

	mu sync.Mutex
	// current is nil at first and after forget.
	current *sharedLease
	all     map[*sharedLease]struct{}
}

// sharedLease is one of them.
type sharedLease struct {
	id      string
	created time.Time
	users   int
	// doomed leases go with their last user.
	doomed bool
}

// use returns the current lease, which stays until done is called at least.
func (s *sharedLeases) use(ctx context.Context) (l leases.Lease, done func(), err error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || now.Sub(s.current.created) >= leaseStep {
		fresh := &sharedLease{id: "kiln-images-" + rand.Text(), created: now}
		if _, err := s.store.Create(ctx, leases.WithID(fresh.id), leases.WithExpiration(leaseLife)); err != nil {
			return leases.Lease{}, nil, fmt.Errorf("create lease for images: %w", err)
		}
		s.enter(fresh, now)
	}
	used := s.current
	used.users++
	return leases.Lease{ID: used.id}, sync.OnceFunc(func() { s.leave(ctx, used) }), nil
}

// enter makes a lease the current one and forgets those that have expired.
func (s *sharedLeases) enter(fresh *sharedLease, now time.Time) {
	if s.all == nil {
		s.all = map[*sharedLease]struct{}{}
	}
	for old := range s.all {
		if old.users == 0 && now.Sub(old.created) > leaseLife {
			delete(s.all, old)
		}
	}
	s.all[fresh] = struct{}{}
	s.current = fresh
}

func (s *sharedLeases) leave(ctx context.Context, used *sharedLease) {
	s.mu.Lock()
	used.users--
	last := used.users == 0 && used.doomed
	s.mu.Unlock()
	if last {
		// At worst it expires.
		_ = s.remove(context.WithoutCancel(ctx), used)
	}
}

// forget removes all leases, those in use when they are not any more.
func (s *sharedLeases) forget(ctx context.Context) error {
	var idle []*sharedLease
	s.mu.Lock()
	for l := range s.all {
		if l.doomed = true; l.users == 0 {
			idle = append(idle, l)
		}
	}
	clear(s.all)
	s.current = nil
	s.mu.Unlock()
	var errs []error
	for _, l := range idle {
		errs = append(errs, s.remove(ctx, l))
	}
	return errors.Join(errs...)
}

func (s *sharedLeases) remove(ctx context.Context, l *sharedLease) error {
	if err := s.store.Delete(ctx, leases.Lease{ID: l.id}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove lease for images: %w", err)
	}
	return nil
}
