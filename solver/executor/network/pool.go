package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// idleFor is how long a used space beyond the pool's size waits for another
// container.
const idleFor = time.Minute

// maxIdle bounds the spaces that wait, beyond the pool's size.
const maxIdle = 32

// maker connects namespaces to a network.
type maker interface {
	// connect puts devices and addresses into the namespace of a new space.
	connect(ctx context.Context, s *space) error
	// disconnect gives back what connect took. The namespace of a space that
	// an earlier daemon left may be gone already.
	disconnect(ctx context.Context, s *space) error
	// gateway is the address by which spaces reach this machine, known after
	// the first connect; the zero Addr if they do not.
	gateway() netip.Addr
	// close is called when there are no spaces any more.
	close(ctx context.Context) error
}

// space is one network namespace; it is an executor.Network.
type space struct {
	netns.Dialer
	pool *pool
	id   string
	// hostname of the only container; empty for a space that any may use.
	hostname string
	// host is the number of its address in the bridge's subnet.
	host uint32
	// since is when it was given back.
	since time.Time
}

// Path is the file of the namespace.
func (s *space) Path() string { return s.Dialer.Path }

// Release gives the space back to its pool.
func (s *space) Release(ctx context.Context, spoiled bool) error {
	return s.pool.give(ctx, s, spoiled || s.hostname != "")
}

type poolConfig struct {
	maker maker
	// dir has the files of the namespaces.
	dir string
	// size is how many spaces are kept ready.
	size        int
	nameservers []string
}

// pool has the spaces. One goroutine makes and removes them behind the builds'
// back: it ends with close.
type pool struct {
	cfg  poolConfig
	kick chan struct{}
	stop context.CancelFunc
	done chan struct{}

	mu sync.Mutex
	// idle are ready for the next container; the last one was used last.
	idle []*space
	// spent wait to be removed.
	spent []*space
	// used counts spaces that containers are in.
	used   int
	closed bool
}

func newPool(ctx context.Context, cfg poolConfig) *pool {
	p := &pool{cfg: cfg, kick: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	go p.work(ctx)
	return p
}

// start takes over what an earlier daemon left, to be removed, and makes the
// first space.
func (p *pool) start(ctx context.Context) error {
	entries, err := os.ReadDir(p.cfg.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list left networks: %w", err)
	}
	p.mu.Lock()
	for _, e := range entries {
		p.spent = append(p.spent, p.newSpace(e.Name(), ""))
	}
	p.mu.Unlock()
	s, err := p.make(ctx, "")
	if err != nil {
		return err
	}
	p.mu.Lock()
	s.since = time.Now()
	p.idle = append(p.idle, s)
	p.mu.Unlock()
	p.wake()
	return nil
}

func (p *pool) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *pool) newSpace(id, hostname string) *space {
	s := &space{pool: p, id: id, hostname: hostname}
	s.Dialer.Path = filepath.Join(p.cfg.dir, id)
	s.Nameservers = p.cfg.nameservers
	return s
}

func (p *pool) make(ctx context.Context, hostname string) (*space, error) {
	s := p.newSpace(strings.ToLower(rand.Text()), hostname)
	if err := netns.Create(s.Path()); err != nil {
		return nil, err
	}
	if err := p.cfg.maker.connect(ctx, s); err != nil {
		// What plugins made before one of them failed is undone as far as they
		// do it; the first error is the one to tell.
		_ = p.cfg.maker.disconnect(context.WithoutCancel(ctx), s)
		return nil, errors.Join(err, netns.Remove(s.Path()))
	}
	return s, nil
}

func (p *pool) remove(ctx context.Context, s *space) error {
	// The file goes last: as long as it is there, the next start tries again.
	if err := p.cfg.maker.disconnect(ctx, s); err != nil {
		return fmt.Errorf("remove network %s: %w", s.id, err)
	}
	return netns.Remove(s.Path())
}

// take returns a space that nobody else is in.
func (p *pool) take(ctx context.Context, hostname string) (*space, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("networks are closed: %w", errdefs.ErrUnavailable)
	}
	p.used++
	if n := len(p.idle); n > 0 && hostname == "" {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		p.wake()
		return s, nil
	}
	p.mu.Unlock()
	s, err := p.make(ctx, hostname)
	if err != nil {
		p.mu.Lock()
		p.used--
		p.mu.Unlock()
		return nil, fmt.Errorf("make network: %w", err)
	}
	return s, nil
}

// give takes a space back.
func (p *pool) give(ctx context.Context, s *space, spoiled bool) error {
	p.mu.Lock()
	p.used--
	if p.closed {
		last := p.used == 0
		p.mu.Unlock()
		err := p.remove(ctx, s)
		if last {
			err = errors.Join(err, p.cfg.maker.close(ctx))
		}
		return err
	}
	s.since = time.Now()
	if spoiled {
		p.spent = append(p.spent, s)
	} else {
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	p.wake()
	return nil
}

// work keeps the pool at its size until ctx ends.
func (p *pool) work(ctx context.Context) {
	defer close(p.done)
	for ctx.Err() == nil {
		next := p.expire(time.Now())
		for _, s := range p.takeSpent() {
			if err := p.remove(context.WithoutCancel(ctx), s); err != nil {
				log.G(ctx).WithError(err).Warn("remove network")
			}
		}
		p.fill(ctx)
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		select {
		case <-p.kick:
		case <-timer:
		case <-ctx.Done():
		}
	}
}

func (p *pool) takeSpent() []*space {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.spent
	p.spent = nil
	return out
}

// expire marks the spaces that waited too long as spent and returns when to
// look again; 0 for never.
func (p *pool) expire(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > p.cfg.size {
		// The first one has waited the longest.
		left := idleFor - now.Sub(p.idle[0].since)
		if left > 0 && len(p.idle) <= p.cfg.size+maxIdle {
			return left
		}
		p.spent = append(p.spent, p.idle[0])
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	return 0
}

// fill makes spaces until enough are ready. A failure ends it until the next
// change: the container that needs a space will see the error.
func (p *pool) fill(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		enough := len(p.idle) >= p.cfg.size
		p.mu.Unlock()
		if enough {
			return
		}
		s, err := p.make(ctx, "")
		if err != nil {
			if ctx.Err() == nil {
				log.G(ctx).WithError(err).Warn("prepare network")
			}
			return
		}
		p.mu.Lock()
		s.since = time.Now()
		p.idle = slices.Insert(p.idle, 0, s)
		p.mu.Unlock()
	}
}

// close removes what is not in use.
func (p *pool) close(ctx context.Context) error {
	p.stop()
	<-p.done
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	all := append(p.idle, p.spent...)
	p.idle, p.spent = nil, nil
	last := p.used == 0
	p.mu.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, p.remove(ctx, s))
	}
	if last {
		errs = append(errs, p.cfg.maker.close(ctx))
	}
	return errors.Join(errs...)
}
