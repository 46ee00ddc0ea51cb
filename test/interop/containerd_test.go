package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// containerdWorld is a containerd with a builder in it or beside it.
type containerdWorld struct {
	ctd *daemon.Containerd
	// kilnd is the builder beside it; nil if it is inside.
	kilnd *daemon.Daemon
	// address is the builder's.
	address, snapshotter string
	// config is a nerdctl.toml.
	config string
}

// shared is the namespace of the images, and of the users.
const shared = "work"

// startContainerd starts a stock containerd with extra configuration, or with
// name "containerd-kiln" kiln's.
func startContainerd(t *testing.T, name, extra string) *daemon.Containerd {
	t.Helper()
	c, err := daemon.NewContainerd(t.Context(), name, extra)
	if err != nil {
		t.Fatal(err)
	}
	start(t, c)
	return c
}

// start starts a containerd that ends with the test.
func start(t *testing.T, c *daemon.Containerd) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd said:\n%s", c.Said())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// beside starts kilnd as a sidecar.
func beside(t *testing.T, c *daemon.Containerd, snapshotter string) *containerdWorld {
	t.Helper()
	d := fresh(t, daemon.Config{Args: []string{"--containerd", "unix://" + c.Socket, "--namespace", shared}})
	return (&containerdWorld{ctd: c, kilnd: d, address: d.Address, snapshotter: snapshotter}).configure(t)
}

// inside starts a containerd with kiln compiled in.
func inside(t *testing.T) *containerdWorld {
	t.Helper()
	c := startContainerd(t, "containerd-kiln", fmt.Sprintf("[plugins.'io.containerd.grpc.v1.kiln']\n  namespace = %q\n", shared))
	return (&containerdWorld{ctd: c, address: "unix://" + c.Socket, snapshotter: "kiln"}).configure(t)
}

// withProxy starts a stock containerd with what install-proxy prints.
func withProxy(t *testing.T) *containerdWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "kiln-proxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := filepath.Join(dir, "conf.d", "kiln.toml")
	run(t, "", nil, own(t, "kiln"), "install-proxy", "--address", filepath.Join(dir, "p.sock"), "--default-differ", "--write", "--file", conf).ok(t)
	// The configuration of NewContainerd ends in a table; imports stand above.
	c, err := daemon.NewContainerd(t.Context(), "containerd", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Import(filepath.Join(dir, "conf.d", "*.toml")); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	return beside(t, c, "kiln")
}

func (w *containerdWorld) configure(t *testing.T) *containerdWorld {
	t.Helper()
	dir := t.TempDir()
	w.config = filepath.Join(dir, "nerdctl.toml")
	write(t, w.config, fmt.Sprintf("address = %q\nnamespace = %q\nsnapshotter = %q\ndata_root = %q\ncni_path = \"/usr/lib/cni\"\n",
		w.ctd.Socket, shared, w.snapshotter, filepath.Join(dir, "data")))
	return w
}

func (w *containerdWorld) ctr(t *testing.T, args ...string) outcome {
	t.Helper()
	return run(t, "", nil, foreign(t, "ctr"), append([]string{"-a", w.ctd.Socket, "-n", shared}, args...)...)
}

func (w *containerdWorld) nerdctl(t *testing.T, args ...string) outcome {
	t.Helper()
	env := []string{"NERDCTL_TOML=" + w.config, "BUILDKIT_HOST=" + w.address,
		"PATH=" + filepath.Dir(foreign(t, "buildctl")) + ":" + os.Getenv("PATH")}
	return run(t, "", env, foreign(t, "nerdctl"), args...)
}

func (w *containerdWorld) build(t *testing.T, dir string, args ...string) outcome {
	t.Helper()
	return run(t, "", nil, foreign(t, "buildctl"), append([]string{"--addr", w.address}, buildArgs(dir, args...)...)...)
}

// TestContainerdRunsWhatWasBuilt shows the same thing on every host: what was
// built is in the containerd's store, and runs, without an export or an import.
func TestContainerdRunsWhatWasBuilt(t *testing.T) {
	hosts := []struct {
		name  string
		start func(t *testing.T) *containerdWorld
	}{
		{"stock", func(t *testing.T) *containerdWorld {
			return beside(t, startContainerd(t, "containerd", ""), "overlayfs")
		}},
		{"proxy", withProxy},
		{"plugin", inside},
	}
	for _, host := range hosts {
		t.Run(host.name, func(t *testing.T) {
			w := host.start(t)
			dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo built > /made && rm /bin/cp\nCOPY f /f\n", "f", "sent\n")
			w.build(t, dir, "--output=type=image,name=docker.io/library/made:1,unpack=true").ok(t)
			got := w.ctr(t, "run", "--rm", "--snapshotter", w.snapshotter, "docker.io/library/made:1", "one", "cat", "/made", "/f").ok(t)
			if got.stdout != "built\nsent\n" {
				t.Errorf("container said %q", got.stdout)
			}

			out := w.nerdctl(t, "build", "-t", "nerd:1", dir).ok(t)
			if said := out.stdout + out.stderr; !strings.Contains(said, "unpacking to docker.io/library/nerd:1") || strings.Contains(said, "Loaded image") {
				t.Errorf("nerdctl did not see that the store is its own:\n%s", said)
			}
			if got := w.nerdctl(t, "run", "--rm", "--net", "none", "nerd:1", "sh", "-c", "cat /made; ls /bin/cp").stdout; got != "built\n" {
				t.Errorf("container said %q", got)
			}

			// The image of a build is a base of the next one; no registry has it.
			second := folder(t, "Dockerfile", "FROM made:1\nCOPY --from=nerd:1 /made /again\nRUN cat /f >> /again\n")
			w.build(t, second, "--output=type=image,name=docker.io/library/second:1,unpack=true", "--opt=image-resolve-mode=local").ok(t)
			if got := w.nerdctl(t, "run", "--rm", "--net", "none", "second:1", "cat", "/again").ok(t).stdout; got != "built\nsent\n" {
				t.Errorf("container said %q", got)
			}
		})
	}
}

// TestContainerdImagesUnpackWithKiln shows that the snapshotter and the differ
// serve other clients of the containerd, with no builder in sight.
func TestContainerdImagesUnpackWithKiln(t *testing.T) {
	for name, w := range map[string]*containerdWorld{"proxy": withProxy(t), "plugin": inside(t)} {
		t.Run(name, func(t *testing.T) {
			ref := base(t, "busybox")
			w.ctr(t, "image", "pull", "--plain-http", "--local", "--snapshotter", "kiln", ref).ok(t)
			got := w.ctr(t, "run", "--rm", "--snapshotter", "kiln", ref, "two", "sh", "-c", "echo here > /x && cat /x").ok(t)
			if got.stdout != "here\n" {
				t.Errorf("container said %q", got.stdout)
			}
			// A commit compares, by the differ.
			w.nerdctl(t, "run", "--net", "none", "--name", "c1", ref, "sh", "-c", "echo kept > /kept").ok(t)
			w.nerdctl(t, "commit", "c1", "committed:1").ok(t)
			w.nerdctl(t, "rm", "c1").ok(t)
			if got := w.nerdctl(t, "run", "--rm", "--net", "none", "committed:1", "cat", "/kept").ok(t).stdout; got != "kept\n" {
				t.Errorf("container said %q", got)
			}
		})
	}
}

// TestContainerdRestart shows that a restart of the containerd costs the build
// that runs at the time, and nothing else.
func TestContainerdRestart(t *testing.T) {
	w := beside(t, startContainerd(t, "containerd", ""), "overlayfs")
	ref := base(t, "busybox")
	cached := folder(t, "Dockerfile", "FROM "+ref+"\nRUN echo one\n")
	w.build(t, cached, "--output=type=image,name=docker.io/library/r:1").ok(t)

	long := folder(t, "Dockerfile", "FROM "+ref+"\nRUN echo begun && sleep 3 && echo two > /two\n")
	ended := make(chan outcome, 1)
	cmd := exec.Command(foreign(t, "buildctl"), append([]string{"--addr", w.address}, buildArgs(long)...)...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { err := cmd.Wait(); ended <- outcome{stderr: said.String(), err: err} }()
	time.Sleep(time.Second)
	w.ctd.Kill()
	(<-ended).failed(t, "does not answer")

	if err := w.ctd.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := w.build(t, cached, "--output=type=image,name=docker.io/library/r:2").ok(t)
	if !strings.Contains(again.stderr, "CACHED") {
		t.Errorf("the cache was lost:\n%s", again.stderr)
	}
	w.build(t, long, "--output=type=image,name=docker.io/library/long:1,unpack=true").ok(t)
	if got := w.ctr(t, "run", "--rm", "docker.io/library/long:1", "three", "cat", "/two").ok(t).stdout; got != "two\n" {
		t.Errorf("container said %q", got)
	}
}
