package script_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kilnbuild/kiln/test/daemon"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// world is what the scripts share.
type world struct {
	registry *fixtures.Server
	daemon   *daemon.Daemon
	// bin has kiln and kilnd, examples the programs of examples/; config is
	// what every daemon here is given.
	bin, examples, config string
	// gitRoot is the directory of the git server, git its address.
	gitRoot, git string
}

// TestScript runs every script of testdata.
func TestScript(t *testing.T) {
	w := newWorld(t)
	before := daemon.Look(t, w.daemon)
	t.Run("all", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:   "testdata",
			Setup: w.setup,
			Cmds:  map[string]func(*testscript.TestScript, bool, []string){"daemon": w.ownDaemon},
			// A command that is misspelt must not pass as an expected failure.
			RequireExplicitExec: true, RequireUniqueNames: true,
		})
	})
	// What the cache gained is not leaked; everything else is.
	now := daemon.Look(t, w.daemon)
	before.Leases, before.Files, before.Goroutines = now.Leases, now.Files, before.Goroutines+4
	daemon.Settle(t, w.daemon, before)
}

// newWorld serves the images and starts the daemon.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{registry: fixtures.Registry(t)}
	for name, ref := range map[string]string{
		"busybox:latest": fixtures.Busybox(t, w.registry),
		"busybox:multi":  fixtures.BusyboxIndex(t, w.registry),
	} {
		// Scripts say FROM busybox, which is library/busybox of Docker Hub.
		to := "docker://" + w.registry.Addr + "/library/" + name
		out, err := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--all",
			"--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+ref, to).CombinedOutput()
		if err != nil {
			t.Fatalf("copy %s: %v\n%s", ref, err, out)
		}
	}
	dir := t.TempDir()
	w.config = filepath.Join(dir, "kilnd.toml")
	text := fmt.Sprintf("[registry.\"docker.io\"]\nmirrors = [%q]\n", w.registry.Addr)
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kiln", "kilnd"} {
		path, err := daemon.Program(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		w.bin = filepath.Dir(path)
	}
	w.serveGit(t)
	w.buildExamples(t)
	w.daemon = daemon.Run(t, daemon.Config{Args: []string{"--config", w.config}})
	return w
}

// serveGit serves repositories that scripts put into gitRoot.
func (w *world) serveGit(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	w.gitRoot = t.TempDir()
	s := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + w.gitRoot, "GIT_HTTP_EXPORT_ALL=1"},
	})
	t.Cleanup(s.Close)
	w.git = s.URL
}

// buildExamples compiles the examples so that they run in containers too.
func (w *world) buildExamples(t *testing.T) {
	t.Helper()
	w.examples = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", w.examples,
		"./buildkit3", "./dockerfile2llb", "./gobuild")
	cmd.Dir = "../../examples"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build examples: %v\n%s", err, out)
	}
}

// setup gives a script its environment.
func (w *world) setup(env *testscript.Env) error {
	env.Setenv("PATH", w.bin+":"+w.examples+":"+env.Getenv("PATH"))
	env.Setenv("EXAMPLES", w.examples)
	env.Setenv("GITROOT", w.gitRoot)
	env.Setenv("GIT", w.git)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("BUILDKIT_HOST", w.daemon.Address)
	env.Setenv("BUILDKIT_PROGRESS", "plain")
	env.Setenv("NO_COLOR", "1")
	env.Setenv("REGISTRY", w.registry.Addr)
	env.Setenv("CONFIG", w.config)
	return nil
}

// ownDaemon is the command daemon: from here on the script uses a daemon of
// its own. $ROOT is its state.
func (w *world) ownDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("daemon: cannot be negated")
	}
	ctx := context.Background()
	d, err := daemon.New(ctx, daemon.Config{Args: append([]string{"--config", w.config}, args...)})
	if err == nil {
		if _, err = d.Start(ctx); err != nil {
			err = errors.Join(err, d.Close())
		}
	}
	ts.Check(err)
	ts.Defer(func() { ts.Check(d.Close()) })
	ts.Setenv("BUILDKIT_HOST", d.Address)
	ts.Setenv("ROOT", d.Root)
	ts.Setenv("CONTAINERD", d.Containerd)
}
