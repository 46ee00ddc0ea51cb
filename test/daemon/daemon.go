package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// startWithin bounds a start of the daemon, and a stop that was asked for; it
// is generous because test machines are busy.
const startWithin = 60 * time.Second

// Config says how to run a daemon. The zero value is fine.
type Config struct {
	// Dir is the folder for everything; empty means a temporary one, which
	// Close removes. A folder that is given is emptied of nothing.
	Dir string
	// Root is the daemon's state; empty means one below Dir.
	Root string
	// Args are added to the command line.
	Args []string
	// Env is added to this process's environment.
	Env []string
}

// Daemon is one state and, between Start and the end, one process.
type Daemon struct {
	// Address is where clients reach it; Containerd is the socket of the
	// containerd inside it; Root is its state; Log is what it says.
	Address, Containerd, Root, Log string

	cfg    Config
	dir    string
	notify *net.UnixConn
	// readies has the news that a process is ready.
	readies chan struct{}
	process *os.Process
	debug   string
	// exited is closed when the process has ended; code is valid then.
	exited chan struct{}
	code   int
}

// New prepares a daemon without starting it. It must be closed.
func New(ctx context.Context, cfg Config) (*Daemon, error) {
	if _, err := Program(ctx, "kilnd"); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, dir: cfg.Dir, readies: make(chan struct{}, 1)}
	if d.dir == "" {
		var err error
		if d.dir, err = os.MkdirTemp("", "kiln-test-"); err != nil {
			return nil, fmt.Errorf("create daemon's folder: %w", err)
		}
	}
	d.Root = cfg.Root
	if d.Root == "" {
		d.Root = filepath.Join(d.dir, "root")
	}
	d.Address = "unix://" + filepath.Join(d.dir, "kilnd.sock")
	d.Containerd = filepath.Join(d.Root, "run", "containerd.sock")
	d.Log = filepath.Join(d.dir, "kilnd.log")
	path := filepath.Join(d.dir, "notify.sock")
	var err error
	if d.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the daemon: %w", err), d.Close())
	}
	go d.listen()
	return d, nil
}

// Start starts the process and waits until it says that it is ready; it
// returns how long that took.
func (d *Daemon) Start(ctx context.Context) (time.Duration, error) {
	bin, err := Program(ctx, "kilnd")
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open daemon's log: %w", err)
	}
	defer log.Close()
	said, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("open daemon's log: %w", err)
	}
	cmd := exec.Command(bin, append([]string{"--config", "/nonexistent", "--root", d.Root, "--addr", d.Address,
		"--otel-socket-path", filepath.Join(d.dir, "otel.sock"), "--debugaddr", "127.0.0.1:0"}, d.cfg.Args...)...)
	cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(d.dir, "notify.sock")), d.cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A test that is killed must not leave its daemon behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.drain()
	begin := time.Now()
	if err := d.launch(cmd); err != nil {
		return 0, fmt.Errorf("start kilnd: %w", err)
	}
	if err := d.ready(); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	d.debug, err = debugAddress(d.Log, said)
	return took, err
}

// drain forgets news of earlier processes.
func (d *Daemon) drain() {
	select {
	case <-d.readies:
	default:
	}
}

// launch starts the process on a thread that lives as long as it does: the
// kernel sends the death signal when the starting thread ends.
func (d *Daemon) launch(cmd *exec.Cmd) error {
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // The exit code says the same.
		d.code = cmd.ProcessState.ExitCode()
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	d.process, d.exited = cmd.Process, exited
	return nil
}

// ready waits for the message to the service manager.
func (d *Daemon) ready() error {
	select {
	case <-d.readies:
		return nil
	case <-d.exited:
		return fmt.Errorf("kilnd ended with code %d before it was ready: %s", d.code, d.Said())
	case <-time.After(startWithin):
		return fmt.Errorf("kilnd was not ready after %s: %s", startWithin, d.Said())
	}
}

// listen reads what the process tells its service manager, as one does at all
// times: who does not read holds it up.
func (d *Daemon) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := d.notify.Read(buf)
		if err != nil {
			return // It was closed.
		}
		if string(buf[:n]) == "READY=1" {
			select {
			case d.readies <- struct{}{}:
			default:
			}
		}
	}
}

// PID is the process id; 0 if there is no process.
func (d *Daemon) PID() int {
	if d.process == nil {
		return 0
	}
	return d.process.Pid
}

// Exited is closed when the process that runs now has ended.
func (d *Daemon) Exited() <-chan struct{} { return d.exited }

// Kill ends the process as power loss of its own would, and waits for its end.
func (d *Daemon) Kill() {
	if d.process == nil {
		return
	}
	_ = d.process.Kill() // An error means that it ended just now.
	<-d.exited
	d.process = nil
}

// Stop asks the process to end and returns its exit code; one that does not
// end is killed, which is an error.
func (d *Daemon) Stop() (int, error) {
	if d.process == nil {
		return 0, nil
	}
	_ = d.process.Signal(syscall.SIGTERM) // An error means that it ended just now.
	select {
	case <-d.exited:
		d.process = nil
		return d.code, nil
	case <-time.After(startWithin):
		stacks := d.Stacks()
		d.Kill()
		return 0, fmt.Errorf("kilnd did not stop within %s: %s\n%s", startWithin, d.Said(), stacks)
	}
}

// Said returns the end of the daemon's log.
func (d *Daemon) Said() string {
	text, err := os.ReadFile(d.Log)
	if err != nil {
		return err.Error()
	}
	const keep = 8 << 10
	return string(text[max(0, len(text)-keep):])
}

// Close stops the process and removes what New made. The error names what
// the daemon left mounted or running, which is cleaned up all the same.
func (d *Daemon) Close() error {
	_, err := d.Stop()
	errs := []error{err}
	if d.notify != nil {
		errs = append(errs, d.notify.Close())
	}
	errs = append(errs, d.sweep())
	if d.cfg.Dir == "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// sweep ends processes and mounts that outlived the daemon; each is an error.
func (d *Daemon) sweep() error {
	var errs []error
	left, err := processesBelow(d.Root)
	errs = append(errs, err)
	for _, p := range left {
		errs = append(errs, fmt.Errorf("process outlived the daemon: %s", p))
		_ = syscall.Kill(p.PID, syscall.SIGKILL) // An error means that it ended just now.
	}
	mounts, err := mountsBelow("self", d.Root)
	errs = append(errs, err)
	for i := len(mounts) - 1; i >= 0; i-- {
		errs = append(errs, fmt.Errorf("mount outlived the daemon: %s", mounts[i]))
		if err := syscall.Unmount(mounts[i], syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mounts[i], err))
		}
	}
	return errors.Join(errs...)
}

// debugAddress finds where the process serves debugging, in what it said
// since its start.
func debugAddress(path string, from int64) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read daemon's log: %w", err)
	}
	const before = "http://127.0.0.1:"
	text = text[min(from, int64(len(text))):]
	at := bytes.Index(text, []byte(before))
	if at < 0 {
		return "", fmt.Errorf("find debug address: kilnd said only %q", text)
	}
	address, _, _ := strings.Cut(string(text[at:]), "/debug")
	return address, nil
}
