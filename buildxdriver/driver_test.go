package buildxdriver_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLifecycle goes through the life of a builder on a machine where nothing
// runs, and looks for what is left of it.
func TestLifecycle(t *testing.T) {
	s := newShop(t)
	root, src := s.path("k", "root"), s.source()
	s.builder("k", "--driver-opt", "root="+root, "--bootstrap", "--use").ok().says("[internal] booting kiln", "kilnd answers")
	if pids := serving(t, root); len(pids) != 1 {
		t.Fatalf("processes %v", pids)
	}
	s.buildx("inspect").ok().says("kiln", "running", "+kiln.1.2.3", "linux/")
	s.buildx("ls").ok().says("running")
	s.buildx("build", "--output", "type=image,name=example.com/greeting:1", "--output", "type=local,dest="+s.path("out"),
		"--metadata-file", s.path("meta"), src).ok()
	if text, err := os.ReadFile(s.path("out", "greeting")); err != nil || string(text) != "hello\n" {
		t.Errorf("built %q, %v", text, err)
	}
	var meta map[string]any
	if text, err := os.ReadFile(s.path("meta")); err != nil || json.Unmarshal(text, &meta) != nil || meta["image.name"] != "example.com/greeting:1" {
		t.Errorf("metadata %v, %v", meta, err)
	}
	s.buildx("du").ok().says("Total:")
	s.buildx("history", "ls").ok().says("src")
	s.buildx("build", "--platform=linux/amd64,linux/arm64", "--output=type=oci,dest="+s.path("o.tar"), "--cache-to=type=local,dest="+s.path("cache"), src).ok()
	s.buildx("prune", "--force", "--all").ok().says("Total:")

	s.buildx("stop").ok()
	s.buildx("ls").ok().says("stopped")
	if pids := serving(t, root); len(pids) != 0 {
		t.Errorf("stop left %v", pids)
	}
	// A build starts it again, with the state it had.
	s.buildx("build", src).ok().says("[internal] booting kiln")
	s.buildx("history", "ls").ok().says("src")
	s.buildx("rm", "k").ok()
	if pids := serving(t, root); len(pids) != 0 {
		t.Errorf("rm left %v", pids)
	}
	if _, err := os.Lstat(s.path("k")); !os.IsNotExist(err) {
		left, _ := exec.Command("find", s.path("k")).Output()
		t.Errorf("rm left files: %v\n%s", err, left)
	}
}

// TestKeepState removes a builder whose cache is to stay.
func TestKeepState(t *testing.T) {
	s := newShop(t)
	root := s.path("root")
	s.builder("k", "--driver-opt", "root="+root, "--bootstrap").ok()
	s.buildx("rm", "--keep-state", "k").ok()
	if pids := serving(t, root); len(pids) != 0 {
		t.Errorf("rm left %v", pids)
	}
	if _, err := os.Stat(filepath.Join(root, "kiln-cache.db")); err != nil {
		t.Errorf("the cache is gone: %v", err)
	}
}

// TestCrashed uses a builder whose daemon was killed.
func TestCrashed(t *testing.T) {
	s := newShop(t)
	root := s.path("root")
	s.builder("k", "--driver-opt", "root="+root, "--bootstrap", "--use").ok()
	for _, pid := range serving(t, root) {
		if out, err := exec.Command("kill", "-9", pid).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.buildx("build", s.source()).ok()
	s.buildx("rm", "k").ok()
	if _, err := os.Lstat(root); !os.IsNotExist(err) {
		t.Errorf("rm left %s: %v", root, err)
	}
}

// TestFound uses a kilnd that somebody else has started, named in each of the
// ways there are, and leaves it running.
func TestFound(t *testing.T) {
	s := newShop(t)
	root, socket := s.path("root"), s.path("run", "kilnd.sock")
	kilnd := exec.Command(filepath.Join(bin, "kilnd"), "--config=/nonexistent", "--root="+root, "--addr=unix://"+socket)
	kilnd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := kilnd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = kilnd.Process.Signal(syscall.SIGTERM)
		if err := kilnd.Wait(); err != nil && !strings.Contains(err.Error(), "exit status") {
			t.Error(err)
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("kilnd does not serve")
		}
	}
	s.env = append(s.env, "KILN_HOST=unix://"+socket)
	src := s.source()
	for name, args := range map[string][]string{
		"variable": {"--driver-opt", "default-load=false"},
		"option":   {"--driver-opt", "socket=" + socket + ",root=" + s.path("unused")},
		"endpoint": {"unix://" + socket},
	} {
		s.builder(name, args...).ok()
		s.buildx("build", "--builder", name, src).ok()
		s.buildx("stop", name).ok()
		s.buildx("rm", name).ok()
		if pids := serving(t, root); len(pids) != 1 {
			t.Fatalf("%s: processes %v", name, pids)
		}
	}
	s.builder("other", "--driver-opt", "socket="+socket+",namespace=elsewhere").failed().says(`namespace "buildkit"`, `"elsewhere"`)
	if _, err := os.Lstat(s.path("unused")); !os.IsNotExist(err) {
		t.Errorf("a root that nobody needs was made: %v", err)
	}
}

// TestStartFails shows what a user sees of a kilnd that cannot start.
func TestStartFails(t *testing.T) {
	s := newShop(t)
	config := write(t, s.path("bad.toml"), "root = 7\n")
	s.builder("k", "--driver-opt", "root="+s.path("root")+",config="+config, "--bootstrap").failed().
		says("it ended with exit status 1 before it was ready", "kilnd.log ends:", "bad.toml")
	s.builder("m", "--driver-opt", "root="+s.path("m")+",kilnd=/nonexistent/kilnd", "--bootstrap").failed().says("start kilnd", "/nonexistent/kilnd")
	s.builder("n", "--driver-opt", "root=relative").failed().says("driver option root", "not an absolute path")
	s.builder("o", "--driver-opt", "size=9").failed().says(`"size" is unknown`, "namespace")
	s.builder("p", "tcp://example.com:1/kilnd.sock").failed().says("remote driver")
	for _, name := range []string{"k", "m"} {
		s.buildx("rm", name).ok()
	}
	for _, name := range []string{"root", "m"} {
		if _, err := os.Lstat(s.path(name)); !os.IsNotExist(err) {
			t.Errorf("rm left %s: %v", name, err)
		}
	}
}

// TestAtOnce has two builds begin where nothing runs.
func TestAtOnce(t *testing.T) {
	s := newShop(t)
	root, src := s.path("root"), s.source()
	s.builder("k", "--driver-opt", "root="+root).ok()
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			if o := s.buildx("build", "--builder=k", src); o.err != nil {
				t.Errorf("%v: %s", o.err, o.stderr)
			}
		})
	}
	wait.Wait()
	if pids := serving(t, root); len(pids) != 1 {
		t.Errorf("processes %v", pids)
	}
}

// TestConfiguration hands over flags and a file, as the container driver takes
// them.
func TestConfiguration(t *testing.T) {
	s := newShop(t)
	write(t, s.path("ca.pem"), "not looked at before the registry is used\n")
	config := write(t, s.path("my.toml"), "[worker.oci.labels]\n  shade = \"blue\"\n[registry.\"example.com\"]\n  ca = [\""+s.path("ca.pem")+"\"]\n")
	s.builder("k", "--driver-opt", "root="+s.path("root")+",namespace=mine", "--buildkitd-config", config,
		"--buildkitd-flags", "--oci-worker-labels=size=9", "--bootstrap").ok()
	s.buildx("inspect", "k").ok().says("size:", "shade:", "mine")
	written, err := filepath.Glob(s.path("root", "run", "buildx-*", "config", "buildkitd.toml"))
	if err != nil || len(written) != 1 {
		t.Fatalf("%v, %v", written, err)
	}
	text, err := os.ReadFile(written[0])
	ca := filepath.Join(filepath.Dir(written[0]), "certs", "example.com", "ca.pem")
	if err != nil || !strings.Contains(string(text), ca) {
		t.Errorf("configuration does not name %s: %s, %v", ca, text, err)
	}
	if _, err := os.Stat(ca); err != nil {
		t.Error(err)
	}
}

// engine is as much of a Docker Engine as loading an image takes.
func engine(t *testing.T, socket string) (loaded func() []byte) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []byte
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.47")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
		case strings.HasSuffix(r.URL.Path, "/info"):
			_, _ = io.WriteString(w, `{"DriverStatus":[]}`)
		case strings.HasSuffix(r.URL.Path, "/images/load"):
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got = body
			mu.Unlock()
			_, _ = io.WriteString(w, `{"stream":"Loaded image: example.com/greeting:1\n"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// TestLoad hands a result to the Docker Engine of the user's context: when
// asked, and by itself with default-load.
func TestLoad(t *testing.T) {
	s := newShop(t)
	loaded := engine(t, s.path("docker.sock"))
	src := s.source()
	for _, by := range []struct {
		opt  string
		args []string
	}{{"default-load=false", []string{"--load"}}, {"default-load=true", nil}} {
		name := "k" + strings.TrimPrefix(by.opt, "default-load=")
		s.builder(name, "--driver-opt", "root="+s.path(name)+","+by.opt, "--bootstrap").ok()
		s.buildx(append([]string{"build", "--builder", name, "--tag=example.com/greeting:1", src}, by.args...)...).ok()
		var names []string
		for r := tar.NewReader(bytes.NewReader(loaded())); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			names = append(names, h.Name)
		}
		if !strings.Contains(strings.Join(names, " "), "manifest.json") {
			t.Errorf("%s: the engine was given %q", by.opt, names)
		}
	}
}

// TestHostGateway gives steps the address of the machine.
func TestHostGateway(t *testing.T) {
	s := newShop(t)
	s.builder("k", "--driver-opt", "root="+s.path("root"), "--buildkitd-flags=--oci-worker-net=host", "--bootstrap").ok()
	s.buildx("build", "--builder=k", "--add-host=me:host-gateway", s.source()).ok()
}

// TestPlugin answers what docker and compose ask a plugin.
func TestPlugin(t *testing.T) {
	s := newShop(t)
	var told struct{ SchemaVersion, Version string }
	if err := json.Unmarshal([]byte(s.buildx("docker-cli-plugin-metadata").ok().stdout), &told); err != nil {
		t.Fatal(err)
	}
	if told.SchemaVersion != "0.1.0" || !strings.HasPrefix(told.Version, "v0.") || strings.Contains(told.Version, "unknown") {
		t.Errorf("metadata %+v", told)
	}
	s.buildx("version").ok().says("github.com/kilnbuild/kiln/buildxdriver " + told.Version + " " + revision)
	s.buildx("create", "--help").ok().says(`"kiln"`, `"remote"`, `"docker-container"`)
	if o := s.buildx("build", "--builder=absent", "."); o.err == nil || !strings.Contains(o.stderr, "ERROR: ") {
		t.Errorf("%v: %s", o.err, o.stderr)
	}
}
