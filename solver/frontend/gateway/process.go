package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/moby/sys/signal"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// unknownExit is the exit code of a process of which none is known.
const unknownExit = 255

// maxSignals is how many signals may wait for a process; further ones are lost,
// as the kernel would lose them.
const maxSignals = 64

// process is one process of a stream.
type process struct {
	id     string
	stream *execStream
	// fds are those that the client connected.
	fds   []uint32
	input *inputPipe // nil without stdin

	resize chan executor.WindowSize
	signal chan int
	// announce says that the process runs, once and before anything else is
	// said of it.
	announce func()
}

// newProcess reads the message that starts a process.
func newProcess(x *execStream, id string, init *gateway.InitMessage) (*process, Process) {
	p := &process{
		id: id, stream: x, fds: init.GetFds(),
		resize: make(chan executor.WindowSize, 1), signal: make(chan int, maxSignals),
	}
	p.announce = sync.OnceFunc(func() {
		_ = x.send(id, &gateway.ExecMessage{Input: &gateway.ExecMessage_Started{Started: &gateway.StartedMessage{}}})
	})
	meta := init.GetMeta()
	spec := Process{
		Process: executor.Process{
			Args: meta.GetArgs(), Env: meta.GetEnv(), Cwd: meta.GetCwd(), User: meta.GetUser(), Tty: init.GetTty(),
			Resize: p.resize, Signal: p.signal,
		},
		Security: init.GetSecurity(), SecretEnv: init.GetSecretenv(),
	}
	if slices.Contains(p.fds, 0) {
		p.input = newInputPipe()
		spec.Stdin = p.input
	}
	if slices.Contains(p.fds, 1) {
		spec.Stdout = &output{process: p, fd: 1}
	}
	if slices.Contains(p.fds, 2) {
		spec.Stderr = &output{process: p, fd: 2}
	}
	return p, spec
}

// run runs the process to its end and says how it ended.
func (p *process) run(ctx context.Context, c *container, spec Process) {
	ctx, done := whileBoth(ctx, c.ctx)
	defer done()
	c.ran(1)
	started := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, spec, started) }()
	var err error
	select {
	case <-started:
		p.announce()
		err = <-ended
	case err = <-ended:
		p.announce()
	}
	c.ran(-1)
	if err != nil {
		log.G(ctx).WithError(err).Debugf("process %s of a frontend ended", p.id)
	}
	if p.input != nil {
		_ = p.input.Close()
	}
	// A client that is gone does not ask how it ended.
	_ = p.stream.send(p.id, &gateway.ExecMessage{Input: &gateway.ExecMessage_Exit{Exit: exitMessage(err)}})
	_ = p.stream.send(p.id, &gateway.ExecMessage{Input: &gateway.ExecMessage_Done{Done: &gateway.DoneMessage{}}})
}

// exitMessage says how a process ended.
func exitMessage(err error) *gateway.ExitMessage {
	if err == nil {
		return &gateway.ExitMessage{}
	}
	out := &gateway.ExitMessage{Code: unknownExit, Error: rpcerr.ToStatus(err)}
	var exit *solver.ExitError
	if errors.As(err, &exit) && exit.Code >= 0 {
		out.Code = uint32(exit.Code)
	}
	return out
}

// receive takes a message for the process. A message that comes after the
// process ended, as it may, changes nothing.
func (p *process) receive(msg *gateway.ExecMessage) error {
	switch in := msg.GetInput().(type) {
	case *gateway.ExecMessage_File:
		return p.write(in.File)
	case *gateway.ExecMessage_Resize:
		p.setSize(executor.WindowSize{Rows: in.Resize.GetRows(), Cols: in.Resize.GetCols()})
	case *gateway.ExecMessage_Signal:
		number, err := parseSignal(in.Signal.GetName())
		if err != nil {
			return err
		}
		select {
		case p.signal <- int(number):
		default:
		}
	}
	return nil
}

// parseSignal knows names with and without SIG.
func parseSignal(name string) (syscall.Signal, error) {
	number, ok := signal.SignalMap[strings.TrimPrefix(name, "SIG")]
	if !ok {
		return 0, fmt.Errorf("Unknown signal %s: %w", name, errdefs.ErrInvalidArgument) //nolint:staticcheck // clients know the text
	}
	return number, nil
}

// setSize leaves the size where the process is attended; only the last counts.
func (p *process) setSize(size executor.WindowSize) {
	for {
		select {
		case p.resize <- size:
			return
		default:
		}
		select {
		case <-p.resize:
		default:
		}
	}
}

// write passes input on.
func (p *process) write(f *gateway.FdMessage) error {
	if f.GetFd() != 0 || p.input == nil {
		return fmt.Errorf("fd %d unavailable to write: %w", f.GetFd(), errdefs.ErrOutOfRange)
	}
	p.input.push(f.GetData())
	if f.GetEOF() {
		p.input.finish()
	}
	return nil
}

// output sends what a process writes to one descriptor.
type output struct {
	process *process
	fd      uint32
	closed  bool
}

// maxChunk bounds the data of one message, in bytes.
const maxChunk = 256 << 10

// Write sends data. It blocks while the client does not read.
func (o *output) Write(data []byte) (int, error) {
	o.process.announce()
	for part := range slices.Chunk(data, maxChunk) {
		if err := o.send(&gateway.FdMessage{Fd: o.fd, Data: part}); err != nil {
			return 0, err
		}
	}
	return len(data), nil
}

// Close sends the end, once.
func (o *output) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	o.process.announce()
	// Nobody is there to hear of it any more.
	_ = o.send(&gateway.FdMessage{Fd: o.fd, EOF: true})
	return nil
}

func (o *output) send(f *gateway.FdMessage) error {
	return o.process.stream.send(o.process.id, &gateway.ExecMessage{Input: &gateway.ExecMessage_File{File: f}})
}

// maxInput is how much input waits for a process that does not read, in bytes.
// Beyond it the client has to wait.
const maxInput = 1 << 20

// inputPipe carries input to a process. It has a writer, who waits only while
// there is too much in it, and a reader.
type inputPipe struct {
	mu   sync.Mutex
	cond *sync.Cond
	data []byte
	// finished says that no more comes, closed that nobody reads.
	finished, closed bool
}

func newInputPipe() *inputPipe {
	p := &inputPipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// push adds data. What nobody reads is dropped.
func (p *inputPipe) push(data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) > maxInput && !p.closed {
		p.cond.Wait()
	}
	if p.closed || p.finished {
		return
	}
	p.data = append(p.data, data...)
	p.cond.Broadcast()
}

// finish says that no more comes.
func (p *inputPipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
	p.cond.Broadcast()
}

// Read returns what there is, and waits for some.
func (p *inputPipe) Read(buf []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 && !p.finished && !p.closed {
		p.cond.Wait()
	}
	if p.closed || len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(buf, p.data)
	p.data = p.data[n:]
	p.cond.Broadcast()
	return n, nil
}

// Close ends reading; who writes does not wait any more.
func (p *inputPipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.data = true, nil
	p.cond.Broadcast()
	return nil
}
