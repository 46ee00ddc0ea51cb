package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// helperName is what may stand for a name in an address of a helper: nothing
// that a command could take for an option.
var helperName = regexp.MustCompile(`^[A-Za-z0-9._@][-A-Za-z0-9._@:]*$`)

// helperCommand returns the command whose input and output are a connection
// to the daemon that an address names; nil if the scheme is no helper's.
func helperCommand(u *url.URL) ([]string, error) {
	q := u.Query()
	if !helperName.MatchString(u.Hostname()) {
		return nil, fmt.Errorf("address %s: %q is no name", u.Redacted(), u.Hostname())
	}
	for _, key := range []string{"context", "namespace", "container"} {
		if v := q.Get(key); v != "" && !helperName.MatchString(v) {
			return nil, fmt.Errorf("address %s: %q is no %s", u.Redacted(), v, key)
		}
	}
	dial := []string{"buildctl", "dial-stdio"}
	switch u.Scheme {
	case "docker-container":
		cmd := []string{"docker"}
		if c := q.Get("context"); c != "" {
			cmd = append(cmd, "--context="+c)
		}
		return append(append(cmd, "exec", "-i", u.Hostname()), dial...), nil
	case "podman-container":
		return append([]string{"podman", "exec", "-i", u.Hostname()}, dial...), nil
	case "nerdctl-container":
		cmd := []string{"nerdctl", "exec"}
		if ns := q.Get("namespace"); ns != "" {
			cmd = append(cmd, "--namespace", ns)
		}
		return append(append(cmd, "-i", u.Hostname()), dial...), nil
	case "kube-pod":
		return append([]string{"kubectl", "--context=" + q.Get("context"), "--namespace=" + q.Get("namespace"), "exec",
			"--container=" + q.Get("container"), "-i", u.Hostname(), "--"}, dial...), nil
	case "ssh":
		return sshCommand(u)
	}
	return nil, nil
}

// sshCommand is the command for ssh://. The path is the socket at the far side.
func sshCommand(u *url.URL) ([]string, error) {
	if _, has := u.User.Password(); has || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("address %s: want ssh://[user@]host[:port][/socket]", u.Redacted())
	}
	cmd := []string{"ssh"}
	if name := u.User.Username(); name != "" {
		if !helperName.MatchString(name) {
			return nil, fmt.Errorf("address %s: %q is no user name", u.Redacted(), name)
		}
		cmd = append(cmd, "-l", name)
	}
	if p := u.Port(); p != "" {
		cmd = append(cmd, "-p", p)
	}
	cmd = append(cmd, "--", u.Hostname(), "buildctl")
	if u.Path != "" && u.Path != "/" {
		cmd = append(cmd, "--addr", "unix://"+u.Path)
	}
	return append(cmd, "dial-stdio"), nil
}

// processConn is a connection through a process.
type processConn struct {
	io.Reader
	in   io.WriteCloser
	stop func()
	once sync.Once
}

// dialProcess starts a command and returns its input and output. What it says
// beside goes to the standard error: that is where "no such container" is.
func dialProcess(ctx context.Context, argv []string) (net.Conn, error) {
	// gRPC cancels ctx once the connection stands; the process has to stay.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("reach the daemon: %w", err)
	}
	return &processConn{Reader: out, in: in, stop: func() {
		in.Close()
		cancel()
		_ = cmd.Wait()
	}}, nil
}

// Write sends to the process.
func (c *processConn) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close ends the process.
func (c *processConn) Close() error {
	c.once.Do(c.stop)
	return nil
}

// LocalAddr has no meaning.
func (c *processConn) LocalAddr() net.Addr { return &net.UnixAddr{Name: "stdio"} }

// RemoteAddr has no meaning.
func (c *processConn) RemoteAddr() net.Addr { return c.LocalAddr() }

var errNoDeadline = errors.New("a process has no deadlines")

// SetDeadline is not supported.
func (c *processConn) SetDeadline(time.Time) error { return errNoDeadline }

// SetReadDeadline is not supported.
func (c *processConn) SetReadDeadline(time.Time) error { return errNoDeadline }

// SetWriteDeadline is not supported.
func (c *processConn) SetWriteDeadline(time.Time) error { return errNoDeadline }
