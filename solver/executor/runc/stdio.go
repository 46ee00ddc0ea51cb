package runc

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/containerd/console"
	gorunc "github.com/containerd/go-runc"

	"github.com/kilnbuild/kiln/solver/executor"
)

// stdio connects a process's streams: pipes, or a terminal.
type stdio struct {
	process *executor.Process
	socket  *gorunc.Socket
	copies  sync.WaitGroup
	// in, out and err are the runtime's ends of the pipes.
	in, out, err *os.File
	inWriter     *os.File

	mu       sync.Mutex
	terminal console.Console
	// size was asked for before there was a terminal.
	size   *executor.WindowSize
	closed bool
}

func newStdio(p *executor.Process) (*stdio, error) {
	s := &stdio{process: p}
	if p.Tty {
		var err error
		if s.socket, err = gorunc.NewTempConsoleSocket(); err != nil {
			return nil, errors.Join(err, closeIO(p))
		}
		s.copies.Go(s.serveTerminal)
		return s, nil
	}
	var err error
	if s.out, err = s.output(p.Stdout); err == nil {
		s.err, err = s.output(p.Stderr)
	}
	if err == nil && p.Stdin != nil {
		err = s.input(p.Stdin)
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// output copies what the process writes; nil writers drop it.
func (s *stdio) output(w io.Writer) (*os.File, error) {
	if w == nil {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	r, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.copies.Go(func() {
		defer r.Close()
		_, _ = io.Copy(w, r)
	})
	return pw, nil
}

func (s *stdio) input(r io.Reader) error {
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	s.in, s.inWriter = pr, pw
	// Not waited for: a reader may block although the process has ended.
	go func() {
		_, _ = io.Copy(pw, r)
		pw.Close()
	}()
	return nil
}

// serveTerminal takes the terminal that the runtime sends and copies both ways.
func (s *stdio) serveTerminal() {
	t, err := s.socket.ReceiveMaster()
	if err != nil {
		return
	}
	s.mu.Lock()
	s.terminal = t
	if s.size != nil {
		setSize(t, *s.size)
	}
	s.mu.Unlock()
	if s.process.Stdin != nil {
		go func() { _, _ = io.Copy(t, s.process.Stdin) }()
	}
	if s.process.Stdout != nil {
		_, _ = io.Copy(s.process.Stdout, t)
	}
}

func (s *stdio) resize(size executor.WindowSize) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal == nil {
		s.size = &size
		return
	}
	setSize(s.terminal, size)
}

func setSize(t console.Console, size executor.WindowSize) {
	_ = t.Resize(console.WinSize{Height: uint16(size.Rows), Width: uint16(size.Cols)})
}

// console is the socket that the runtime sends the terminal to; nil for pipes.
func (s *stdio) console() gorunc.ConsoleSocket {
	if s.socket == nil {
		return nil
	}
	return s.socket
}

// drain waits until all output is copied. The runtime must have ended.
func (s *stdio) drain() {
	s.closeRuntimeEnds()
	if s.socket != nil {
		// No terminal arrives any more.
		_ = s.socket.Close()
	}
	s.copies.Wait()
}

func (s *stdio) closeRuntimeEnds() {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// CloseAfterStart closes the ends that the runtime has inherited.
func (s *stdio) CloseAfterStart() error {
	s.closeRuntimeEnds()
	return nil
}

// Close closes everything, the process's own streams included.
func (s *stdio) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.closeRuntimeEnds()
	if s.inWriter != nil {
		_ = s.inWriter.Close()
	}
	if s.terminal != nil {
		_ = s.terminal.Close()
	}
	return closeIO(s.process)
}

// Stdin, Stdout and Stderr are unused: the streams are set on the command.
func (s *stdio) Stdin() io.WriteCloser { return nil }

// Stdout is unused.
func (s *stdio) Stdout() io.ReadCloser { return nil }

// Stderr is unused.
func (s *stdio) Stderr() io.ReadCloser { return nil }

// Set gives the runtime's command its streams.
func (s *stdio) Set(cmd *exec.Cmd) {
	if s.process.Tty {
		return
	}
	if s.in != nil {
		cmd.Stdin = s.in
	}
	cmd.Stdout, cmd.Stderr = s.out, s.err
}

// closeIO closes the process's own streams.
func closeIO(p *executor.Process) error {
	var errs []error
	if p.Stdin != nil {
		errs = append(errs, p.Stdin.Close())
	}
	for _, w := range []io.WriteCloser{p.Stdout, p.Stderr} {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	return errors.Join(errs...)
}
