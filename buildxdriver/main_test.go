package buildxdriver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bin is the folder with docker-buildx and kilnd of this tree, side by side as
// they are installed.
var bin string

func TestMain(m *testing.M) {
	code := 1
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// revision is stamped into the programs.
const revision = "0123456789abcdef0123456789abcdef01234567"

// build makes the programs; the compiler's cache has most of it.
func build() (err error) {
	if bin, err = os.MkdirTemp("", "kiln-buildx-"); err != nil {
		return err
	}
	for name, dir := range map[string]string{"docker-buildx": ".", "kilnd": ".."} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w -X main.version=v1.2.3 -X main.revision="+revision, "-o", filepath.Join(bin, name), "./cmd/"+name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("build %s: %w\n%s", name, err, out), os.RemoveAll(bin))
		}
	}
	return nil
}

// shop is a user with a home of their own, in which nothing runs.
type shop struct {
	t   *testing.T
	dir string
	env []string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	// Names of sockets are short; those of tests are not.
	dir, err := os.MkdirTemp("", "kb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &shop{t, dir, []string{"HOME=" + dir, "DOCKER_CONFIG=" + dir + "/docker", "DOCKER_HOST=unix://" + dir + "/docker.sock",
		"BUILDX_BUILDER=", "BUILDX_CONFIG=", "KILN_HOST=", "PATH=" + os.Getenv("PATH")}}
}

// path returns a path below the home.
func (s *shop) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// outcome is how a command ended.
type outcome struct {
	t              *testing.T
	args           []string
	stdout, stderr string
	err            error
}

// buildx runs docker-buildx as a program of its own.
func (s *shop) buildx(args ...string) outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "docker-buildx"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, s.env
	// A daemon that inherits the pipes would keep Wait from returning.
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return outcome{s.t, args, stdout.String(), stderr.String(), err}
}

// builder creates a builder and sees to it that none of its daemons outlives
// the test.
func (s *shop) builder(name string, args ...string) outcome {
	s.t.Helper()
	s.t.Cleanup(func() { s.buildx("rm", "--force", name) })
	return s.buildx(append([]string{"create", "--driver", "kiln", "--name", name}, args...)...)
}

// ok ends the test if the command failed.
func (o outcome) ok() outcome {
	o.t.Helper()
	if o.err != nil {
		o.t.Fatalf("docker-buildx %q: %v\n%s\n%s", o.args, o.err, o.stdout, o.stderr)
	}
	return o
}

// says checks for texts in the output.
func (o outcome) says(want ...string) outcome {
	o.t.Helper()
	for _, text := range want {
		if !strings.Contains(o.stdout+o.stderr, text) {
			o.t.Errorf("docker-buildx %q does not say %q:\n%s\n%s", o.args, text, o.stdout, o.stderr)
		}
	}
	return o
}

// failed ends the test if the command did not fail.
func (o outcome) failed() outcome {
	o.t.Helper()
	if o.err == nil {
		o.t.Fatalf("docker-buildx %q did not fail:\n%s\n%s", o.args, o.stdout, o.stderr)
	}
	return o
}

// serving returns the ids of the kilnds that were told of dir.
func serving(t *testing.T, dir string) (pids []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		// Processes may end at any time.
		if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(filepath.Base(strings.SplitN(string(text), "\x00", 2)[0]), "kilnd") &&
			strings.Contains(string(text), dir) {
			pids = append(pids, strings.Split(path, "/")[2])
		}
	}
	return pids
}

// write writes a file with the folders above it and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// source makes a folder that can be built without any registry.
func (s *shop) source() string {
	s.t.Helper()
	write(s.t, s.path("src", "greeting"), "hello\n")
	return filepath.Dir(write(s.t, s.path("src", "Dockerfile"), "FROM scratch\nCOPY greeting /greeting\n"))
}
