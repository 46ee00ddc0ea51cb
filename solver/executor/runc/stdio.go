package runc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor"
)

// stdio connects a process's streams: pipes, or a terminal. The runtime stands
// between a terminal of ours and the one in the container, and passes on both
// what is written and the size.
type stdio struct {
	process *executor.Process
	copies  sync.WaitGroup
	// in, out and err are the runtime's ends of the pipes; in is its end of the
	// terminal, if there is one.
	in, out, err *os.File
	inWriter     *os.File

	mu       sync.Mutex
	terminal console.Console
	// runtime is the runtime's process, 0 before it is known.
	runtime int
	closed  bool
}

func newStdio(p *executor.Process) (*stdio, error) {
	s := &stdio{process: p}
	if p.Tty {
		if err := s.openTerminal(); err != nil {
			return nil, errors.Join(fmt.Errorf("open terminal: %w", err), s.Close())
		}
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

// openTerminal makes a terminal and copies both ways.
func (s *stdio) openTerminal() error {
	t, name, err := console.NewPty()
	if err != nil {
		return err
	}
	s.terminal = t
	if s.in, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	out := io.Discard
	if s.process.Stdout != nil {
		out = s.process.Stdout
	}
	// It ends with an error when the runtime has closed the other end.
	s.copies.Go(func() { _, _ = io.Copy(out, t) })
	if s.process.Stdin != nil {
		go func() { _, _ = io.Copy(t, s.process.Stdin) }()
	}
	return nil
}

// started tells the runtime's process.
func (s *stdio) started(runtime int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runtime = runtime
}

// resize sets the size of the terminal.
func (s *stdio) resize(size executor.WindowSize) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal == nil || s.closed {
		return
	}
	_ = s.terminal.Resize(console.WinSize{Height: uint16(size.Rows), Width: uint16(size.Cols)})
	// The kernel tells only processes whose own terminal it is.
	if s.runtime > 0 {
		_ = unix.Kill(s.runtime, unix.SIGWINCH)
	}
}

// drain waits until all output is copied. The runtime must have ended.
func (s *stdio) drain() {
	s.mu.Lock()
	s.runtime = 0
	s.mu.Unlock()
	s.closeRuntimeEnds()
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
	if s.in != nil {
		cmd.Stdin = s.in
	}
	if s.process.Tty {
		cmd.Stdout, cmd.Stderr = s.in, s.in
		return
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
