package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/session"
)

// TestMain makes the test program the command itself when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("KILN_TEST_COMMAND") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process prepares the command under a name.
func process(t *testing.T, name string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, args...)
	cmd.Env = append(os.Environ(), "KILN_TEST_COMMAND=1")
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

func TestExitCodes(t *testing.T) {
	d := fakedaemon.Start(t)
	for _, c := range []struct {
		name, args string
		code       int
		out        string
	}{
		{"kiln", "--version", 0, "kiln github.com/kilnbuild/kiln "},
		{"buildctl", "--version", 0, "buildctl github.com/kilnbuild/kiln "},
		{"buildctl", "--addr " + d.Addr + " debug workers", 0, "ID\tPLATFORMS\n"},
		{"kiln", "--addr " + d.Addr + " build --frontend f --progress plain", 0, ""},
		{"kiln", "--addr unix:///nowhere du", 1, "error: the daemon at unix:///nowhere does not answer"},
		{"kiln", "du --no-such-flag", 1, "error: unknown flag: --no-such-flag\n"},
	} {
		cmd, out := process(t, c.name, strings.Fields(c.args)...)
		if code := exitCode(cmd.Run()); code != c.code || !strings.HasPrefix(out.String(), c.out) {
			t.Errorf("%s %s: exit code %d, output %q; want %d, %q", c.name, c.args, code, out, c.code, c.out)
		}
		if c.args == "--version" && len(strings.Fields(out.String())) != 4 {
			t.Errorf("version line %q has not four fields", out)
		}
	}
}

// The first interrupt cancels the build; the command ends when it has.
func TestInterrupt(t *testing.T) {
	d := fakedaemon.Start(t)
	cmd, out := process(t, "kiln", "--addr", d.Addr, "build", "--frontend", "f", "--progress", "plain")
	canceled := make(chan struct{})
	d.OnSolve = func(ctx context.Context, _ *control.SolveRequest, _ *session.Session) (map[string]string, error) {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			return nil, err
		}
		<-ctx.Done()
		close(canceled)
		return nil, ctx.Err()
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(cmd.Wait()); code != 1 || !strings.Contains(out.String(), "error: failed to solve: got interrupt: context canceled") {
		t.Errorf("exit code %d, output %q", code, out)
	}
	<-canceled
}

func TestWatch(t *testing.T) {
	signals := make(chan os.Signal, 3)
	for range 3 {
		signals <- syscall.SIGTERM
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	code := 0
	watch(signals, cancel, func(c int) { code = c })
	if code != 1 || !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("exit code %d, cause %v", code, context.Cause(ctx))
	}
}
