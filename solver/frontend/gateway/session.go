package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// maxRefs bounds the refs one frontend may hold.
const maxRefs = 100_000

// Session is one frontend's conversation. It implements LLBBridgeServer.
type Session struct {
	gateway.UnimplementedLLBBridgeServer

	bridge frontend.Bridge
	inputs map[string]*pb.Definition
	// errorDetail translates errors for Return; see Config.
	fromStatus func(*gateway.ReturnRequest) error

	maker Containers

	mu     sync.Mutex
	refs   map[string]frontend.Ref
	ids    map[frontend.Ref]string
	done   chan struct{}
	result *frontend.Result
	err    error
	ended  bool
	// containers by the frontend's ids; nil after Close.
	containers map[string]*container
}

// Config is what a Session needs.
type Config struct {
	Bridge frontend.Bridge
	// Inputs are the graphs the frontend was called with.
	Inputs map[string]*pb.Definition
	// Error translates the error of a Return, which is set.
	Error func(*gateway.ReturnRequest) error
	// Containers makes containers; required.
	Containers Containers
}

// NewSession returns a conversation without refs.
func NewSession(cfg Config) *Session {
	return &Session{
		bridge: cfg.Bridge, inputs: cfg.Inputs, fromStatus: cfg.Error, maker: cfg.Containers, containers: map[string]*container{},
		refs: map[string]frontend.Ref{}, ids: map[frontend.Ref]string{}, done: make(chan struct{}),
	}
}

// Wait returns the frontend's result once it has returned, or the cause of
// ctx's end.
func (s *Session) Wait(ctx context.Context) (*frontend.Result, error) {
	select {
	case <-s.done:
		return s.result, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Done is closed when the frontend has returned.
func (s *Session) Done() <-chan struct{} { return s.done }

// Returned reports whether the frontend has returned.
func (s *Session) Returned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Finish ends the conversation with an error unless the frontend has returned.
func (s *Session) Finish(err error) { _ = s.finish(nil, err) }

var errReturned = fmt.Errorf("gateway result is already set: %w", errdefs.ErrAlreadyExists)

func (s *Session) finish(res *frontend.Result, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errReturned
	}
	s.ended, s.result, s.err = true, res, err
	close(s.done)
	return nil
}

// put gives a ref an id; nil is the empty id. The same ref keeps its id.
func (s *Session) put(r frontend.Ref) (string, error) {
	if r == nil {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.ids[r]; ok {
		return id, nil
	}
	if len(s.refs) >= maxRefs {
		return "", fmt.Errorf("frontend holds more than %d results: %w", maxRefs, errdefs.ErrResourceExhausted)
	}
	id := rand.Text()
	s.refs[id], s.ids[r] = r, id
	return id, nil
}

// get finds the ref of an id; the empty id is nil, the empty file system.
func (s *Session) get(id string) (frontend.Ref, error) {
	if id == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.refs[id]
	if !ok {
		return nil, fmt.Errorf("no such ref %q in this build: %w", id, errdefs.ErrNotFound)
	}
	return r, nil
}

// need is get for calls that read: the empty file system has no files.
func (s *Session) need(id string) (frontend.Ref, error) {
	r, err := s.get(id)
	if err == nil && r == nil {
		err = errors.Join(errors.New("the empty file system has no files"), errdefs.ErrNotFound)
	}
	return r, err
}
