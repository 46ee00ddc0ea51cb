package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Containerd is a containerd on a state of its own: the stock one, or the one
// with kiln compiled in.
type Containerd struct {
	// Socket is where clients reach it; Log is what it says.
	Socket, Log string

	program string
	dir     string
	daemon  *Daemon // for its way of starting processes
}

// NewContainerd prepares the program "containerd" or "containerd-kiln" without
// starting it; extra is added to its configuration, which is of version 3. It
// must be closed.
func NewContainerd(ctx context.Context, name, extra string) (*Containerd, error) {
	build := Client
	if name == "containerd-kiln" {
		build = Program
	}
	program, err := build(ctx, name)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kiln-ctd-")
	if err != nil {
		return nil, fmt.Errorf("create containerd's folder: %w", err)
	}
	c := &Containerd{
		Socket: filepath.Join(dir, "c.sock"), Log: filepath.Join(dir, "log"), program: program, dir: dir, daemon: &Daemon{},
	}
	text := fmt.Sprintf(`version = 3
root = %q
state = %q
%s[grpc]
  address = %q
[debug]
  level = "warn"
%s`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), withoutCRI, c.Socket, extra)
	if err := os.WriteFile(c.config(), []byte(text), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("configure containerd: %w", err), c.Close())
	}
	return c, nil
}

// withoutCRI is the line that saves the start of what hardly a test needs.
const withoutCRI = `disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]` + "\n"

// ServeCRI makes the containerd serve what Kubernetes drives it by, from the
// next start on.
func (c *Containerd) ServeCRI() error {
	old, err := os.ReadFile(c.config())
	if err == nil {
		err = os.WriteFile(c.config(), bytes.Replace(old, []byte(withoutCRI), nil, 1), 0o600)
	}
	if err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	return nil
}

// Import makes the containerd read the files of a pattern too, from the next
// start on.
func (c *Containerd) Import(pattern string) error {
	old, err := os.ReadFile(c.config())
	if err == nil {
		err = os.WriteFile(c.config(), append([]byte(fmt.Sprintf("imports = [%q]\n", pattern)), old...), 0o600)
	}
	if err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	return nil
}

func (c *Containerd) config() string { return filepath.Join(c.dir, "config.toml") }

// Start starts the process and waits until it answers.
func (c *Containerd) Start(ctx context.Context) error {
	shim, err := Client(ctx, "containerd-shim-runc-v2")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open containerd's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(c.program, "--config", c.config())
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(shim)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.daemon.launch(cmd); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	ctr, err := Client(ctx, "ctr")
	if err != nil {
		return err
	}
	for end := time.Now().Add(startWithin); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if exec.CommandContext(ctx, ctr, "-a", c.Socket, "--connect-timeout", "1s", "version").Run() == nil {
			return nil
		}
		select {
		case <-c.daemon.exited:
			return fmt.Errorf("containerd ended with code %d: %s", c.daemon.code, c.Said())
		default:
		}
	}
	return fmt.Errorf("containerd did not answer after %s: %s", startWithin, c.Said())
}

// Said is the end of the log.
func (c *Containerd) Said() string { return (&Daemon{Log: c.Log}).Said() }

// Kill ends the process at once and waits for its end. Its containers go on.
func (c *Containerd) Kill() { c.daemon.Kill() }

// Stop asks the process to end.
func (c *Containerd) Stop() error {
	_, err := c.daemon.Stop()
	return err
}

// Close ends the process and removes everything.
func (c *Containerd) Close() error {
	c.Kill()
	return os.RemoveAll(c.dir)
}
