package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/pb/gateway"
)

// maxProcesses bounds how many processes one stream starts, ended ones
// included: their ids are remembered.
const maxProcesses = 10_000

// execStream is one ExecProcess call, with all processes that it started.
type execStream struct {
	session *Session
	stream  gateway.LLBBridge_ExecProcessServer
	// processes by id; only the receiving goroutine looks at it.
	processes map[string]*process
	running   sync.WaitGroup

	mu     sync.Mutex
	broken error
}

// ExecProcess starts processes in containers and passes their input and output.
// A message that makes no sense ends the call, and the end of the call ends its
// processes, except that a client that merely has nothing more to say gets the
// rest of their output.
func (s *Session) ExecProcess(stream gateway.LLBBridge_ExecProcessServer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	x := &execStream{session: s, stream: stream, processes: map[string]*process{}}
	err := x.receive(ctx)
	if err != nil {
		cancel(err)
	}
	x.running.Wait()
	return err
}

// receive handles messages until the client has no more.
func (x *execStream) receive(ctx context.Context) error {
	for {
		msg, err := x.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.handle(ctx, msg); err != nil {
			return err
		}
	}
}

func (x *execStream) handle(ctx context.Context, msg *gateway.ExecMessage) error {
	id := msg.GetProcessID()
	if id == "" || len(id) > maxID {
		return fmt.Errorf("ProcessID required, with at most %d bytes: %w", maxID, errdefs.ErrInvalidArgument)
	}
	p := x.processes[id]
	init, ok := msg.GetInput().(*gateway.ExecMessage_Init)
	switch {
	case ok && p != nil:
		return fmt.Errorf("Process %s already exists: %w", id, errdefs.ErrAlreadyExists)
	case ok:
		return x.start(ctx, id, init.Init)
	case p == nil:
		return fmt.Errorf("IO for process %q not found: %w", id, errdefs.ErrNotFound)
	}
	return p.receive(msg)
}

// start starts a process.
func (x *execStream) start(ctx context.Context, id string, init *gateway.InitMessage) error {
	if len(x.processes) >= maxProcesses {
		return fmt.Errorf("more than %d processes were started: %w", maxProcesses, errdefs.ErrResourceExhausted)
	}
	c, done, err := x.session.container(init.GetContainerID())
	if err != nil {
		return err
	}
	p, spec := newProcess(x, id, init)
	x.processes[id] = p
	x.running.Go(func() {
		defer done()
		p.run(ctx, c, spec)
	})
	return nil
}

// send sends a message about a process. After the first failure, which means
// that the client is gone, nothing is sent.
func (x *execStream) send(id string, msg *gateway.ExecMessage) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken == nil {
		msg.ProcessID = id
		x.broken = x.stream.Send(msg)
	}
	return x.broken
}
