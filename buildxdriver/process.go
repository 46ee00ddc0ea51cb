package buildxdriver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// started is a kilnd that this process has started.
type started struct {
	program, log string
	record       *record
	// exited is closed when the process has ended; cmd.ProcessState is valid
	// then.
	exited chan struct{}
	cmd    *exec.Cmd
}

// state says how the process ended.
func (p *started) state() string { return p.cmd.ProcessState.String() }

// lastWords is the end of the log, as the end of an error.
func (p *started) lastWords() string {
	text, err := tail(p.log)
	if err != nil || text == "" {
		return "; its log " + p.log + " is empty"
	}
	return "; its log " + p.log + " ends:\n" + text
}

// start starts kilnd detached, with its log and its record in the room. The
// caller holds the lock. made is what had to be made of the state directory.
func (d *Driver) start(made string) (*started, error) {
	p := &started{log: filepath.Join(d.opts.room, "kilnd.log"), record: d.inherit(made), exited: make(chan struct{})}
	var err error
	if p.program, err = d.opts.findProgram(exec.LookPath); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.opts.room, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of the node: %w", err)
	}
	args, err := d.arguments()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of kilnd: %w", err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.program, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, "/"
	p.cmd.Env = environment(os.Environ())
	// A session of its own: the end of buildx, of its terminal and Ctrl-C do
	// not reach it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A record without a process comes first: whatever happens from here on,
	// the node remembers which directories are its own.
	if err := p.record.write(d.opts.room); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start kilnd: %w", err)
	}
	err = errors.Join(p.record.identify(p.cmd.Process.Pid), p.record.write(d.opts.room))
	go func() {
		_ = p.cmd.Wait() // ProcessState says the same.
		close(p.exited)
	}()
	select {
	case <-p.exited: // It had no time to be identified, and its log says why.
	default:
		if err != nil {
			return nil, errors.Join(err, p.cmd.Process.Kill())
		}
	}
	return p, nil
}

// inherit begins a record: directories that an earlier start has made are
// still the node's own.
func (d *Driver) inherit(made string) *record {
	rec := &record{Socket: d.opts.socket, MadeState: made}
	if before, err := readRecord(d.opts.room); err == nil {
		rec.MadeRoot, rec.MadeState = before.MadeRoot, before.MadeState
		return rec
	}
	// The state directory may be below the root, and is there by now.
	_, err := os.Lstat(d.opts.root)
	below := made != "" && strings.HasPrefix(d.opts.state+"/", d.opts.root+"/") && strings.HasPrefix(d.opts.root+"/", made+"/")
	if d.opts.ownRoot && (errors.Is(err, os.ErrNotExist) || below) {
		rec.MadeRoot = d.opts.root
	}
	return rec
}

// arguments is kilnd's command line. Flags of the node come last, so that they
// hold.
func (d *Driver) arguments() ([]string, error) {
	args := []string{"--root", d.opts.root, "--state", d.opts.state, "--addr", "unix://" + d.opts.socket}
	config := d.opts.config
	if config == "" && len(d.cfg.Files) > 0 {
		var err error
		if config, err = writeFiles(filepath.Join(d.opts.room, "config"), d.cfg.Files); err != nil {
			return nil, err
		}
	}
	for _, opt := range [][2]string{{"--config", config}, {"--containerd", d.opts.containerd}, {"--namespace", d.opts.namespace}} {
		if opt[1] != "" {
			args = append(args, opt[0], opt[1])
		}
	}
	return append(args, d.cfg.BuildkitdFlags...), nil
}

// shippedTo is where buildx thinks that the files of a configuration go: into
// a container. The configuration names its certificates there.
const shippedTo = "/etc/buildkit/"

// writeFiles writes the files of --buildkitd-config below dir and returns the
// path of the configuration.
func writeFiles(dir string, files map[string][]byte) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("remove earlier configuration: %w", err)
	}
	for name, text := range files {
		if !filepath.IsLocal(name) {
			return "", fmt.Errorf("write configuration: file name %q leads out of the directory", name)
		}
		if filepath.Ext(name) == ".toml" {
			text = bytes.ReplaceAll(text, []byte(shippedTo+"certs/"), []byte(dir+"/certs/"))
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", fmt.Errorf("write configuration: %w", err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return "", fmt.Errorf("write configuration: %w", err)
		}
	}
	return filepath.Join(dir, "buildkitd.toml"), nil
}

// environment leaves out what is meant for this process alone: the service
// manager's, and the docker command's.
func environment(of []string) []string {
	return slices.DeleteFunc(slices.Clone(of), func(variable string) bool {
		for _, prefix := range []string{"NOTIFY_SOCKET=", "LISTEN_", "WATCHDOG_", "DOCKER_CLI_", "OTEL_", "BUILDX_"} {
			if strings.HasPrefix(variable, prefix) {
				return true
			}
		}
		return false
	})
}

// lockDir takes the lock of a directory, which other processes respect too.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	for {
		f, err := os.Open(dir)
		if err != nil {
			return nil, fmt.Errorf("lock directory of kilnd: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && same(f, dir) {
			return func() { _ = f.Close() }, nil // Closing unlocks.
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s, which another buildx holds: %w", dir, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// same reports whether the open directory is still the one of that name: its
// last user may have removed it.
func same(f *os.File, dir string) bool {
	open, err1 := f.Stat()
	named, err2 := os.Stat(dir)
	return err1 == nil && err2 == nil && os.SameFile(open, named)
}
