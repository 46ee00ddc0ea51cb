package interop_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// world is what the tests share; the parts are made when first asked for.
var world struct {
	daemon   *daemon.Daemon
	registry *fixtures.Server
}

func TestMain(m *testing.M) {
	code := 1
	if err := setUp(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
	} else {
		code = m.Run()
	}
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(ctx context.Context) (err error) {
	if world.registry, err = fixtures.Start(ctx, ""); err != nil {
		return err
	}
	if world.daemon, err = daemon.New(ctx, daemon.Config{}); err != nil {
		return err
	}
	_, err = world.daemon.Start(ctx)
	return err
}

func tearDown() error {
	var errs []error
	if world.daemon != nil {
		errs = append(errs, world.daemon.Close())
	}
	if world.registry != nil {
		errs = append(errs, world.registry.Close())
	}
	return errors.Join(errs...)
}

// images are the references of base images, pushed when first asked for.
var images = map[string]func() (string, error){
	"busybox":       sync.OnceValues(func() (string, error) { return world.registry.PushBusybox(context.Background()) }),
	"busybox-multi": sync.OnceValues(func() (string, error) { return world.registry.PushBusyboxIndex(context.Background()) }),
	"scanner":       sync.OnceValues(func() (string, error) { return world.registry.PushScanner(context.Background()) }),
	"debian":        sync.OnceValues(func() (string, error) { return world.registry.PushDebian(context.Background()) }),
}

// base returns the reference of a base image.
func base(t *testing.T, name string) string {
	t.Helper()
	ref, err := images[name]()
	if err != nil {
		t.Fatalf("push %s: %v", name, err)
	}
	return ref
}

// fresh starts a daemon for one test.
func fresh(t *testing.T, cfg daemon.Config) *daemon.Daemon {
	t.Helper()
	return daemon.Run(t, cfg)
}

// watch makes sure that the daemon goes back to what it was, whatever the
// test does; leases and files belong to what the cache gained.
func watch(t *testing.T) *daemon.Daemon {
	t.Helper()
	d := world.daemon
	// The goroutines of a first connection and the like are not leaks.
	before := daemon.Look(t, d)
	before.Goroutines += 4
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kilnd said:\n%s", d.Said())
		}
		now := daemon.Look(t, d)
		before.Leases, before.Files = now.Leases, now.Files+16
		daemon.Settle(t, d, before)
	})
	return d
}

// outcome is how a client ended.
type outcome struct {
	stdout, stderr string
	err            error
}

// clientWithin bounds a client; installing a compiler is the slowest thing one
// waits for.
const clientWithin = 4 * time.Minute

// run runs a client with extra variables in its environment.
func run(t *testing.T, stdin string, env []string, program string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %q did not end:\n%s\n%s\n%s", program, args, stdout.String(), stderr.String(), world.daemon.Stacks())
	}
	return outcome{stdout.String(), stderr.String(), err}
}

// ok ends the test if the client failed.
func (o outcome) ok(t *testing.T) outcome {
	t.Helper()
	if o.err != nil {
		t.Fatalf("client failed: %v\n%s\n%s", o.err, o.stdout, o.stderr)
	}
	return o
}

// failed ends the test unless the client failed and said all of want.
func (o outcome) failed(t *testing.T, want ...string) {
	t.Helper()
	if o.err == nil {
		t.Fatalf("client did not fail:\n%s\n%s", o.stdout, o.stderr)
	}
	for _, w := range want {
		if !strings.Contains(o.stderr, w) {
			t.Errorf("client did not say %q:\n%s", w, o.stderr)
		}
	}
}

// foreign returns the path of a real client.
func foreign(t *testing.T, name string) string {
	t.Helper()
	path, err := daemon.Client(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// own returns the path of a program of this tree.
func own(t *testing.T, name string) string {
	t.Helper()
	path, err := daemon.Program(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// buildctl runs the real one.
func buildctl(t *testing.T, d *daemon.Daemon, args ...string) outcome {
	t.Helper()
	return run(t, "", nil, foreign(t, "buildctl"), append([]string{"--addr", d.Address}, args...)...)
}

// dockerfile builds the Dockerfile of a folder with the real buildctl.
func dockerfile(t *testing.T, d *daemon.Daemon, dir string, args ...string) outcome {
	t.Helper()
	return buildctl(t, d, buildArgs(dir, args...)...)
}

// buildArgs are buildctl's arguments for the Dockerfile of a folder.
func buildArgs(dir string, args ...string) []string {
	return append([]string{"build", "--progress=plain", "--frontend=dockerfile.v0",
		"--local=context=" + dir, "--local=dockerfile=" + dir}, args...)
}

// ctr runs the real one on the containerd inside the daemon.
func ctr(t *testing.T, d *daemon.Daemon, args ...string) outcome {
	t.Helper()
	return run(t, "", nil, foreign(t, "ctr"), append([]string{"-a", d.Containerd, "-n", "buildkit"}, args...)...)
}

// folder writes files, given as NAME, TEXT pairs, into a new folder.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		write(t, filepath.Join(dir, files[i]), files[i+1])
	}
	return dir
}

// write writes one file with the folders above it.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// read returns the text of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// digestOf is the digest of a text.
func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }
