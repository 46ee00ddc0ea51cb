package interop_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// driver makes the plugin of the engine's clients kiln's own docker-buildx, with
// a builder of the kiln driver in it.
func (e *engine) driver(name, opts string) {
	e.t.Helper()
	program, env := own(e.t, "docker-buildx"), e.env
	plugin := filepath.Join(strings.TrimPrefix(env[1], "DOCKER_CONFIG="), "cli-plugins", "docker-buildx")
	if err := errors.Join(os.Remove(plugin), os.Symlink(program, plugin)); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		// What the driver has started does not end by itself, and the test's own context is over.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.t.Context()), time.Minute)
		defer cancel()
		rm := exec.CommandContext(ctx, program, "rm", "--force", name)
		rm.Env = env
		if out, err := rm.CombinedOutput(); err != nil {
			e.t.Errorf("remove builder %s: %v\n%s", name, err, out)
		}
	})
	run(e.t, "", env, program, "create", "--driver=kiln", "--name="+name, "--driver-opt="+opts, "--bootstrap").ok(e.t)
}

// short returns the path of a directory that is not there yet, and short enough
// for sockets in it.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "k")
}

// TestBuildxDriverContainerd has the driver start a kilnd that works in a
// containerd which is there already: an image is in its store as soon as it is
// built.
func TestBuildxDriverContainerd(t *testing.T) {
	c := startContainerd(t, "containerd", "")
	e := newEngine(t)
	e.driver("kiln", "root="+short(t)+",kilnd="+own(t, "kilnd")+",namespace="+shared+",containerd=unix://"+c.Socket)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo here > /here\n")
	e.docker(false, "buildx", "--builder=kiln", "build", "--tag=example.com/here:1", "--output=type=image", dir).ok(t)
	if list := run(t, "", nil, foreign(t, "ctr"), "-a", c.Socket, "-n", shared, "images", "ls", "-q").ok(t).stdout; !strings.Contains(list, "example.com/here:1\n") {
		t.Errorf("containerd has %q", list)
	}
	if out := e.docker(false, "buildx", "inspect", "kiln").ok(t).stdout; !strings.Contains(out, shared) {
		t.Errorf("inspect says %s", out)
	}
}

// TestBuildxDriverEngine has the driver start a kilnd with a state of its own,
// and hands its results to the engine that the docker command uses.
func TestBuildxDriverEngine(t *testing.T) {
	e := newEngine(t)
	e.driver("kiln", "root="+short(t)+",kilnd="+own(t, "kilnd"))
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo there > /there\n")
	build := []string{"buildx", "--builder=kiln", "build", "--provenance=false", "--tag=loaded:1", dir}
	e.docker(false, build...).ok(t)
	e.docker(false, "image", "inspect", "loaded:1").failed(t, "No such image")
	e.docker(false, append(build, "--load")...).ok(t)
	if id, _ := e.named("loaded:1"); !strings.HasPrefix(id, "sha256:") {
		t.Errorf("the engine has %s", id)
	}
}
