package runc

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	gorunc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor"
)

// awaitFile waits until the runtime wrote a file, and reports false if it ended
// before.
func awaitFile(name string, done <-chan struct{}) bool {
	wait := time.Millisecond
	for {
		if fi, err := os.Stat(name); err == nil && fi.Size() > 0 {
			return true
		}
		select {
		case <-done:
			return false
		case <-time.After(wait):
			wait = min(wait*2, 20*time.Millisecond)
		}
	}
}

// Exec runs another process in a running container.
func (e *Executor) Exec(ctx context.Context, id string, p executor.Process) error {
	e.mu.Lock()
	ct := e.running[id]
	e.mu.Unlock()
	if ct == nil {
		return errors.Join(fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound), closeIO(&p))
	}
	select {
	case <-ct.started:
	case <-ct.ended:
		return errors.Join(fmt.Errorf("container %s has ended: %w", id, errdefs.ErrNotFound), closeIO(&p))
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), closeIO(&p))
	}
	process, err := ct.bundle.process(&p)
	if err != nil {
		return errors.Join(err, closeIO(&p))
	}
	if !ct.joins.enter() {
		return errors.Join(fmt.Errorf("container %s is being ended: %w", id, errdefs.ErrNotFound), context.Cause(ctx), closeIO(&p))
	}
	leave := sync.OnceFunc(ct.joins.leave)
	defer leave()
	stdio, err := newStdio(&p)
	if err != nil {
		return err
	}
	defer func() { _ = stdio.Close() }()
	// The bundle goes with the container, and this directory with it.
	b := *ct.bundle
	b.dir = filepath.Join(b.dir, "exec-"+rand.Text())
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return err
	}
	done := make(chan struct{})
	inside := &joined{pidFile: filepath.Join(b.dir, "pid"), done: done}
	started := make(chan int, 1)
	go func() {
		runtime, ok := <-started
		if !ok {
			return
		}
		inside.runtime = runtime
		stdio.started(runtime)
		attend(ctx, &p, stdio, handle{signal: inside.signal, kill: inside.kill}, done)
	}()
	go func() {
		if awaitFile(inside.pidFile, done) {
			leave()
		}
	}()
	opts := &gorunc.ExecOpts{
		IO: stdio, Started: started, PidFile: inside.pidFile, LogFile: b.log(),
	}
	err = e.runtime.Exec(context.WithoutCancel(ctx), id, *process, opts)
	close(done)
	stdio.drain()
	status := 0
	var exit *gorunc.ExitError
	if errors.As(err, &exit) {
		status, err = exit.Status, nil
	}
	return e.verdict(ctx, &b, &p, status, err)
}

// joined is a process that joined a container. The runtime started it and waits
// for it.
type joined struct {
	// runtime is the runtime's own process.
	runtime int
	// pidFile is where the runtime writes the number of the process.
	pidFile string
	// done is closed when the runtime has ended.
	done <-chan struct{}
}

// signal signals the process as soon as there is one.
func (j *joined) signal(number int) {
	if !awaitFile(j.pidFile, j.done) {
		return
	}
	fd, ok := j.open()
	if !ok {
		return
	}
	defer unix.Close(fd)
	_ = unix.PidfdSendSignal(fd, unix.Signal(number), nil, 0)
}

// kill kills until the process has ended. Killing the runtime's process would
// leave the other one alone.
func (j *joined) kill() {
	wait := 5 * time.Millisecond
	for {
		if fd, ok := j.open(); ok {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			unix.Close(fd)
		}
		select {
		case <-j.done:
			return
		case <-time.After(wait):
			wait = min(wait*2, killWait)
		}
	}
}

// open returns a handle of the process. The number may have been given to
// another one since it was written down, which is told by its parent.
func (j *joined) open() (fd int, ok bool) {
	data, err := os.ReadFile(j.pidFile)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil {
		return 0, false
	}
	if fd, err = unix.PidfdOpen(pid, 0); err != nil {
		return 0, false
	}
	if parentOf(pid) != j.runtime {
		unix.Close(fd)
		return 0, false
	}
	return fd, true
}

// parentOf returns the parent of a process, 0 if there is no such process.
func parentOf(pid int) int {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// The name before the fields may contain anything.
	_, rest, ok := bytes.Cut(data[max(0, bytes.LastIndexByte(data, ')')):], []byte(" "))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return parent
}
