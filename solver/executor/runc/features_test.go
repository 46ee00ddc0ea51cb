package runc_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/runc"
)

func TestStubsKeepWhatTheProcessDid(t *testing.T) { eachRuntime(t, testStubsKeepWhatTheProcessDid) }

// testStubsKeepWhatTheProcessDid looks at the times of directories that mount
// points are made in: they are the process's, or those from before.
func testStubsKeepWhatTheProcessDid(t *testing.T, f *fixture) {
	before, touched := time.Unix(1000000000, 0), time.Unix(1234567890, 0)
	for _, d := range []string{"etc", "tmp"} {
		if err := os.Chtimes(filepath.Join(f.root, d), before, before); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("tmp", filepath.Join(f.root, "link")); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	c := executor.Container{Mounts: []executor.Mount{
		{Dest: "/tmp/parent/point", Source: static(bind(data))},
		{Dest: "/link/behind", Source: static(bind(data))},
		{Dest: "/link/kept", Source: static(bind(data))},
	}}
	script := "busybox stat -c %Y /tmp; busybox touch -d @1234567890 /etc; busybox umount /tmp/kept 2>/dev/null; true"
	out, err := f.run(t.Context(), c, script)
	if err != nil {
		t.Fatal(err)
	}
	if out != "1000000000\n" {
		t.Errorf("the process sees %q as time of a directory", out)
	}
	for dir, want := range map[string]time.Time{"etc": touched, "tmp": before} {
		if fi, err := os.Stat(filepath.Join(f.root, dir)); err != nil || !fi.ModTime().Equal(want) {
			t.Errorf("time of %s is %v, want %v (%v)", dir, fi.ModTime(), want, err)
		}
	}
	for path, want := range map[string]bool{"tmp/parent": true, "tmp/parent/point": false, "tmp/behind": false, "link": true} {
		if _, err := os.Lstat(filepath.Join(f.root, path)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func TestLimits(t *testing.T) { eachRuntime(t, testLimits) }

// testLimits asks the kernel, whichever version of cgroups it has.
func testLimits(t *testing.T, f *fixture) {
	c := executor.Container{
		Resources:    &executor.Resources{Memory: 64 << 20, MemorySwap: 64 << 20, CPUShares: 512, CPUPeriod: 50_000, CPUQuota: 25_000},
		Ulimits:      []executor.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}},
		CgroupParent: "kilntest",
	}
	out, err := f.run(t.Context(), c, `ulimit -Sn; ulimit -Hn
busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null
busybox cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null
busybox cat /proc/self/cgroup; busybox grep cgroup /proc/self/mountinfo; true`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "/kilntest/buildkit/test") && !strings.Contains(out, "cgroup2") {
		t.Errorf("the container is not below its parent: %s", out)
	}
	t.Cleanup(func() {
		for _, pattern := range []string{"/sys/fs/cgroup/kilntest", "/sys/fs/cgroup/*/kilntest"} {
			parents, _ := filepath.Glob(pattern)
			for _, p := range parents {
				_ = os.Remove(filepath.Join(p, "buildkit"))
				_ = os.Remove(p)
			}
		}
	})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 4 || lines[0] != "100" || lines[1] != "200" || lines[2] != "67108864" || !strings.HasPrefix(lines[3], "25000") {
		t.Errorf("limits %q", lines)
	}
}

func TestInsecure(t *testing.T) { eachRuntime(t, testInsecure) }

func testInsecure(t *testing.T, f *fixture) {
	script := "busybox ls /dev; busybox grep CapAmb /proc/self/status; busybox grep -q ' /proc/sys ' /proc/mounts || echo writable"
	plain, err := f.run(t.Context(), executor.Container{}, script)
	if err != nil || strings.Contains(plain, "fuse") || strings.Contains(plain, "writable") || !strings.Contains(plain, "CapAmb:\t0000000000000000") {
		t.Errorf("in a sandbox: %q (%v)", plain, err)
	}
	free, err := f.run(t.Context(), executor.Container{Insecure: true}, script)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fuse\n", "kvm\n", "loop-control\n", "loop7\n", "net\n", "kmsg\n", "writable\n"} {
		if !strings.Contains(free, want) {
			t.Errorf("%q is not in %q", want, free)
		}
	}
	if strings.Contains(free, "CapAmb:\t0000000000000000") {
		t.Error("no capabilities are handed on")
	}
}

// fakeDevices has one device.
type fakeDevices struct{}

func (fakeDevices) Inject(spec *specs.Spec, requests []executor.Device) error {
	for _, r := range requests {
		if r.Name != "v/c=d" {
			return errdefs.ErrNotFound
		}
		spec.Process.Env = append(spec.Process.Env, "DEVICE="+r.Name)
	}
	return nil
}

// fakeEmulators has none.
type fakeEmulators struct{}

func (fakeEmulators) Find(_ context.Context, p ocispecs.Platform) (string, error) {
	return "", errors.New("nothing runs " + p.Architecture)
}

func (fakeEmulators) Inject(_ context.Context, p ocispecs.Platform, _ string, _ *specs.Spec) error {
	return errors.New("nothing is registered for " + p.Architecture)
}

func TestDevicesAndPlatforms(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "executor")
	e, err := runc.New(t.Context(), runc.Config{Root: dir, Devices: fakeDevices{}, Emulators: fakeEmulators{}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{e, dir, newRoot(t)}
	t.Cleanup(func() { f.clean(t) })
	out, err := f.run(t.Context(), executor.Container{Devices: []executor.Device{{Name: "v/c=d"}}}, "echo $DEVICE")
	if err != nil || out != "v/c=d\n" {
		t.Errorf("output %q (%v)", out, err)
	}
	if _, err := f.run(t.Context(), executor.Container{Devices: []executor.Device{{Name: "no"}}}, "true"); !errdefs.IsNotFound(err) {
		t.Errorf("a missing device gives %v", err)
	}
	vax := &ocispecs.Platform{OS: "linux", Architecture: "vax"}
	// An image may say that it is for another platform than its programs are.
	if out, err := f.run(t.Context(), executor.Container{Platform: vax}, "echo runs"); err != nil || out != "runs\n" {
		t.Errorf("output %q (%v)", out, err)
	}
	if err := os.WriteFile(filepath.Join(f.root, "bin/alien"), []byte("\x7fELF no program of this machine"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = f.run(t.Context(), executor.Container{Platform: vax, Process: executor.Process{Args: []string{"/bin/alien"}}}, "")
	if err == nil || !strings.Contains(err.Error(), "nothing runs vax") {
		t.Errorf("the error does not say why: %v", err)
	}
}
