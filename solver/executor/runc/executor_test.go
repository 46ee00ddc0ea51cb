package runc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/mountinfo"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/runc"
)

// newRoot makes a root file system around a static busybox.
func newRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"bin", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal("busybox-static is needed:", err)
	}
	for name, data := range map[string][]byte{
		"bin/busybox": busybox,
		"etc/passwd":  []byte("root:x:0:0::/:/bin/sh\nalice:x:1000:1001::/:/bin/sh\n"),
		"etc/group":   []byte("root:x:0:\nstaff:x:50:alice\n"),
	} {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("busybox", filepath.Join(root, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	return root
}

func bind(dir string, options ...string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: dir, Options: append([]string{"rbind"}, options...)}}
}

type static []mount.Mount

func (s static) Mount(context.Context) ([]mount.Mount, func() error, error) { return s, nil, nil }

// buffer takes both output streams.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (*buffer) Close() error { return nil }

type fixture struct {
	*runc.Executor
	dir, root string
}

// eachRuntime runs a test with every runtime that is supported.
func eachRuntime(t *testing.T, fn func(t *testing.T, f *fixture)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) { fn(t, newFixture(t, name)) })
	}
}

func newFixture(t *testing.T, runtime string) *fixture {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "executor")
	e, err := runc.New(t.Context(), runc.Config{Root: dir, Runtime: runtime})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{e, dir, newRoot(t)}
	t.Cleanup(func() { f.clean(t) })
	return f
}

// clean checks that nothing is left.
func (f *fixture) clean(t *testing.T) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(f.dir))
	if err != nil || len(infos) > 0 {
		t.Errorf("left mounts: %v %v", infos, err)
	}
	entries, _ := os.ReadDir(f.dir)
	for _, e := range entries {
		if e.Name() != "state" && e.Name() != "crun-wrapper" {
			t.Errorf("left bundle %s", e.Name())
		}
	}
}

func (f *fixture) run(ctx context.Context, c executor.Container, script string) (string, error) {
	var out buffer
	c.Root.Mounts = bind(f.root)
	if c.Process.Args == nil {
		c.Process.Args = []string{"/bin/sh", "-c", script}
	}
	c.Process.Env = append(c.Process.Env, "PATH=/bin")
	c.Process.Stdout, c.Process.Stderr = &out, &out
	err := f.Run(ctx, "test", c, nil)
	return out.data.String(), err
}

func TestRun(t *testing.T) { eachRuntime(t, testRun) }

func testRun(t *testing.T, f *fixture) {
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "sub/file"), []byte("inside"), 0o644); err != nil {
		t.Fatal(err)
	}
	mounted := func(m executor.Mount) executor.Container { return executor.Container{Mounts: []executor.Mount{m}} }
	tests := []struct {
		name   string
		c      executor.Container
		script string
		want   string
		code   int
	}{
		{"output", executor.Container{}, "echo hello", "hello\n", 0},
		{"exit code", executor.Container{}, "exit 7", "", 7},
		{"allowed code", executor.Container{Process: executor.Process{ValidExitCodes: []int{0, 7}}}, "exit 7", "", 0},
		{"user", executor.Container{Process: executor.Process{User: "alice"}}, "busybox id -u; busybox id -G", "1000\n1001 50\n", 0},
		{"hosts", executor.Container{ExtraHosts: []executor.HostIP{{Host: "db", IP: "10.1.2.3"}}}, "busybox tail -n1 /etc/hosts", "10.1.2.3\tdb\n", 0},
		{"hostname", executor.Container{}, "busybox hostname", "buildkitsandbox\n", 0},
		{"no network", executor.Container{Network: executor.NetworkNone}, "busybox ls /sys/class/net", "lo\n", 0},
		{"bind", mounted(executor.Mount{Dest: "/data", Source: static(bind(data)), Readonly: true}), "busybox cat /data/sub/file; busybox touch /data/x 2>/dev/null || echo -n ' ro'", "inside ro", 0},
		{"selector", mounted(executor.Mount{Dest: "/f", Source: static(bind(data)), Selector: "sub/file"}), "busybox cat /f", "inside", 0},
		{"tmpfs", mounted(executor.Mount{Dest: "/t", Source: static{{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "nosuid"}}}}), "busybox touch /t/x && echo ok", "ok\n", 0},
		{"stdin", executor.Container{Process: executor.Process{Stdin: io.NopCloser(strings.NewReader("typed"))}}, "busybox cat", "typed", 0},
		{"masked", executor.Container{}, "busybox wc -c < /proc/keys", "0\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := f.run(t.Context(), tt.c, tt.script)
			var exit *solver.ExitError
			if tt.code == 0 && err != nil || tt.code != 0 && (!errors.As(err, &exit) || exit.Code != tt.code) {
				t.Fatalf("error %v, want exit code %d; output %q", err, tt.code, out)
			}
			if out != tt.want {
				t.Errorf("output %q, want %q", out, tt.want)
			}
		})
	}
}

func TestStubsDoNotStay(t *testing.T) { eachRuntime(t, testStubsDoNotStay) }

func testStubsDoNotStay(t *testing.T, f *fixture) {
	before := time.Unix(1000000000, 0)
	if err := os.Chtimes(f.root, before, before); err != nil {
		t.Fatal(err)
	}
	c := executor.Container{
		Mounts:            []executor.Mount{{Dest: "/new/deep/dir", Source: static(bind(t.TempDir()))}},
		RemoveStubParents: true,
	}
	if _, err := f.run(t.Context(), c, "true"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ls", f.root, f.root+"/etc").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "proc", "sys", "dev", "resolv.conf", "hosts"} {
		if strings.Contains("\n"+string(out), "\n"+name+"\n") {
			t.Errorf("%s is left in the root:\n%s", name, out)
		}
	}
	if fi, err := os.Stat(f.root); err != nil || !fi.ModTime().Equal(before) {
		t.Errorf("time of the root is %v, want %v", fi.ModTime(), before)
	}
}

func TestCancelKills(t *testing.T) { eachRuntime(t, testCancelKills) }

func testCancelKills(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("not wanted")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	if _, err := f.run(ctx, executor.Container{}, "trap '' TERM; busybox sleep 1000 & busybox sleep 1000"); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}

func TestHostileInput(t *testing.T) { eachRuntime(t, testHostileInput) }

func testHostileInput(t *testing.T, f *fixture) {
	secret := t.TempDir()
	data := t.TempDir()
	if err := os.Symlink(secret, filepath.Join(data, "out")); err != nil {
		t.Fatal(err)
	}
	tests := map[string]executor.Container{
		"working directory in procfs": {Process: executor.Process{Cwd: "/proc/self/fd/8"}},
		"relative working directory":  {Process: executor.Process{Cwd: "x"}},
		"unknown user":                {Process: executor.Process{User: "mallory"}},
		"host with a newline":         {ExtraHosts: []executor.HostIP{{Host: "a\nb", IP: "1.2.3.4"}}},
		"selector through a link": {Mounts: []executor.Mount{{Dest: "/x", Source: static(bind(data)),
			Selector: "out/../../../etc/shadow-nothing"}}},
	}
	for name, c := range tests {
		if out, err := f.run(t.Context(), c, "true"); err == nil {
			t.Errorf("%s: no error, output %q", name, out)
		}
	}
	if err := f.Run(t.Context(), "../up", executor.Container{}, nil); err == nil {
		t.Error("id with a path is taken")
	}
}

func TestSweepRemovesLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "executor")
	left := filepath.Join(dir, "dead", "rootfs")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount.All(bind(t.TempDir()), left); err != nil {
		t.Fatal(err)
	}
	if _, err := runc.New(t.Context(), runc.Config{Root: dir}); err != nil {
		t.Fatal(err)
	}
	(&fixture{dir: dir}).clean(t)
}
