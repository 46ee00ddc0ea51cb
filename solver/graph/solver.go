package graph

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Config is what a Solver needs.
type Config struct {
	// Cache finds and keeps results; required.
	Cache solver.Cache
	// Now tells the time for progress events; nil means time.Now.
	Now func() time.Time
	// Ahead starts ops before it is certain that they are needed: see Ahead in
	// the package comment.
	Ahead bool
	// Fault is told of errors that do not stop a build: a cache that could
	// not be read or written, a result that could not be released, the stack
	// of an op that panicked. It may be nil and must not block.
	Fault func(error)
	// Span is called before an op runs, with the context and the vertex's
	// name; the op gets the context it returns, and end the outcome. It may be
	// nil.
	Span func(ctx context.Context, name string) (_ context.Context, end func(error))
}

// Solver runs the jobs of one daemon and lets them share work.
type Solver struct {
	cache solver.Cache
	now   func() time.Time
	ahead bool
	fault func(error)
	span  func(context.Context, string) (context.Context, func(error))

	// flights has the goroutines of all computations.
	flights crew

	// mu guards the tables and every node's and run's membership. It is taken
	// before any lock of a node, job, hub or flight, never after one.
	mu    sync.Mutex
	jobs  map[string]*Job
	nodes map[nodeID]*node
	runs  map[digest.Digest]*run
}

// New returns a solver without jobs.
func New(cfg Config) *Solver {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Fault == nil {
		cfg.Fault = func(error) {}
	}
	if cfg.Span == nil {
		cfg.Span = func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	return &Solver{
		cache: cfg.Cache,
		span:  cfg.Span,
		now:   cfg.Now,
		ahead: cfg.Ahead,
		fault: cfg.Fault,
		jobs:  map[string]*Job{},
		nodes: map[nodeID]*node{},
		runs:  map[digest.Digest]*run{},
	}
}

// NewJob opens a job. The id must not be in use: the error then wraps
// ErrJobExists and reads as clients expect it.
func (s *Solver) NewJob(id string, cfg JobConfig) (*Job, error) {
	j := newJob(s, id, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.jobs[id]; ok {
		return nil, &jobExistsError{id: id}
	}
	s.jobs[id] = j
	return j, nil
}

type jobExistsError struct{ id string }

func (e *jobExistsError) Error() string { return fmt.Sprintf("job ID %s exists", e.id) }
func (e *jobExistsError) Unwrap() error { return ErrJobExists }

// Job returns the open job of that id, or nil.
func (s *Solver) Job(id string) *Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id]
}

// Close closes all jobs and waits until every computation has returned or ctx
// ends. Computations of closed jobs are cancelled; an op that ignores its
// cancellation is the only reason to wait long.
func (s *Solver) Close(ctx context.Context) error {
	s.mu.Lock()
	jobs := make([]*Job, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	s.mu.Unlock()
	for _, j := range jobs {
		j.Close(ctx)
	}
	return s.Wait(ctx)
}

// Wait waits until no computation runs or ctx ends.
func (s *Solver) Wait(ctx context.Context) error {
	return s.flights.wait(ctx)
}

// attach makes a node for each vertex of plan, or finds the one it has, and
// adds the job to it. It returns the last one, the top.
func (s *Solver) attach(j *Job, plan []planned) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.gone {
		return nil, ErrJobClosed
	}
	var top *node
	for i := range plan {
		p := &plan[i]
		n, known := s.nodes[p.id]
		if !known {
			n = newNode(s, p)
			s.nodes[p.id] = n
		} else if op, ok := n.vertex.Op.(solver.Joiner); ok && n.vertex != p.vertex {
			op.Join(p.vertex.Op)
		}
		if _, attached := j.nodes[n]; !attached {
			if known {
				n.reset()
			}
			j.nodes[n] = struct{}{}
			n.refs++
			n.attach(j)
		}
		top = n
	}
	return top, nil
}

// detach removes a job from the tables and ends what only it wanted.
func (s *Solver) detach(ctx context.Context, j *Job) {
	s.mu.Lock()
	if j.gone {
		s.mu.Unlock()
		return
	}
	j.gone = true
	delete(s.jobs, j.id)
	var orphans []*node
	var ended []*run
	for n := range j.nodes {
		n.detach(j)
		if n.refs--; n.refs == 0 {
			delete(s.nodes, n.id)
			orphans = append(orphans, n)
			ended = append(ended, s.leaveRuns(n)...)
		}
	}
	j.nodes = nil
	s.mu.Unlock()
	for _, n := range orphans {
		n.close(ctx)
	}
	for _, r := range ended {
		r.close(ctx)
	}
}
