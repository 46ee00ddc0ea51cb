package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	// maxOutput bounds what a command may print for us, in bytes.
	maxOutput = 32 << 20
	// maxStderr is how much of the end of its complaints is kept.
	maxStderr = 8 << 10
	// killDelay is the time between asking a command to end and ending it.
	killDelay = 5 * time.Second
)

// setting is one value of git's configuration.
type setting struct{ name, value string }

// hardened is the whole configuration of every command: what is dangerous in
// repositories of strangers is off, and so is all that would differ between
// machines.
var hardened = []setting{
	{"core.hooksPath", os.DevNull},
	{"core.fsmonitor", "false"},
	{"core.symlinks", "true"},
	{"core.fileMode", "true"},
	{"core.autocrlf", "false"},
	{"core.logAllRefUpdates", "false"},
	{"core.protectHFS", "true"},
	{"core.protectNTFS", "true"},
	{"credential.helper", ""},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"submodule.recurse", "false"},
	{"fetch.recurseSubmodules", "false"},
	{"fetch.writeCommitGraph", "false"},
	// A pack stays one file, which is written and read faster.
	{"fetch.unpackLimit", "1"},
	// Servers must not send us elsewhere for a bundle.
	{"transfer.bundleURI", "false"},
	{"http.lowSpeedLimit", "1"},
	{"http.lowSpeedTime", "60"},
	{"init.defaultBranch", "master"},
	{"advice.detachedHead", "false"},
	{"checkout.workers", "0"},
}

// inherited are variables of the daemon's own that commands need: where
// programs are, and how this machine reaches others.
var inherited = []string{
	"PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
}

// command runs git. Its methods that change something return a copy.
type command struct {
	// home is an empty directory, where commands without a repository run.
	home string
	// repository, tree and index are absolute paths, or empty.
	repository, tree, index string
	// protocols that may be used, as git's variable wants them.
	protocols string
	settings  []setting
	env       []string
	// hide are texts that must not be seen; see redact.
	hide []string
	// log takes what is printed for people; nil for none.
	log io.Writer
	// idle is how long a command may say nothing; 0 for ever.
	idle time.Duration
}

// in returns the command for a repository, and a tree of files if not empty.
func (c command) in(repository, tree string) *command {
	c.repository, c.tree = repository, tree
	return &c
}

// withIndex returns the command with another file for the index.
func (c command) withIndex(path string) *command {
	c.index = path
	return &c
}

// local returns the command without what is for remotes, but with access to
// repositories of this machine.
func (c command) local() *command {
	c.protocols, c.settings, c.env, c.log, c.idle = "file", nil, nil, nil, 0
	return &c
}

// commandError is a command that failed.
type commandError struct {
	name   string
	stderr string
	err    error
}

// Error returns what git said.
func (e *commandError) Error() string {
	return fmt.Sprintf("git %s: %v: git stderr:\n%s", e.name, e.err, e.stderr)
}

// Unwrap returns the process's error.
func (e *commandError) Unwrap() error { return e.err }

// said reports whether git complained with one of some texts. It has no codes
// to tell errors apart, and commands run with messages of the C locale.
func said(err error, texts ...string) bool {
	var ce *commandError
	if !errors.As(err, &ce) {
		return false
	}
	for _, t := range texts {
		if strings.Contains(ce.stderr, t) {
			return true
		}
	}
	return false
}

// run runs a command and returns what it printed.
func (c *command) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := newWatchdog(c.idle, func() {
		cancel(fmt.Errorf("git %s has said nothing for %v: %w", args[0], c.idle, errdefs.ErrUnavailable))
	})
	defer watch.stop()
	out := &bounded{limit: maxOutput, watch: watch}
	complaints := &stderr{redact: c.redact, log: c.log, watch: watch}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.home, c.environment(), out, complaints
	if c.tree != "" {
		cmd.Dir = c.tree
	}
	// Helpers that do not end with git are ended with its group.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = killDelay
	err := runWithUmask(cmd)
	complaints.flush()
	if ctx.Err() != nil {
		if cmd.Process != nil {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		}
		return nil, context.Cause(ctx)
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("git sources need the program git on the builder's machine: %w: %w", err, errdefs.ErrNotImplemented)
	case out.full:
		return nil, fmt.Errorf("git %s prints more than %d bytes: %w", args[0], maxOutput, errdefs.ErrResourceExhausted)
	case err != nil:
		return nil, &commandError{name: args[0], stderr: string(complaints.tail), err: err}
	}
	return out.Bytes(), nil
}

// line runs a command and returns what it printed without space around it.
func (c *command) line(ctx context.Context, args ...string) (string, error) {
	out, err := c.run(ctx, args...)
	return string(bytes.TrimSpace(out)), err
}

// umask is that of every command, so that files do not depend on the daemon's.
const umask = 0o022

// runWithUmask runs cmd with umask. The mask belongs to the thread, which is
// parted from the others and ends with its goroutine. It waits on that thread:
// the kernel ends the process together with the thread that started it.
func runWithUmask(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("set umask: %w", err)
			return
		}
		unix.Umask(umask)
		done <- cmd.Run()
	}()
	return <-done
}

// environment is all that the process sees; credentials are here and not in its
// arguments, which every user of the machine can read.
func (c *command) environment() []string {
	env := []string{
		"LC_ALL=C", "HOME=" + c.home, "XDG_CONFIG_HOME=" + c.home,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0",
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(c.home), "GIT_ALLOW_PROTOCOL=" + c.protocols,
	}
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for name, v := range map[string]string{"GIT_DIR": c.repository, "GIT_WORK_TREE": c.tree, "GIT_INDEX_FILE": c.index} {
		if v != "" {
			env = append(env, name+"="+v)
		}
	}
	n := 0
	for _, list := range [][]setting{hardened, c.settings} {
		for _, s := range list {
			i := strconv.Itoa(n)
			env = append(env, "GIT_CONFIG_KEY_"+i+"="+s.name, "GIT_CONFIG_VALUE_"+i+"="+s.value)
			n++
		}
	}
	return append(append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(n)), c.env...)
}

// redact replaces what must not be seen.
func (c *command) redact(s []byte) []byte {
	for _, h := range c.hide {
		s = bytes.ReplaceAll(s, []byte(h), []byte("xxxxx"))
	}
	return s
}
