package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// library finds the paths of libraries in what ldd says.
var library = regexp.MustCompile(`/[^ ]+`)

// stage copies programs of this machine, with their libraries, to their own
// places below a folder, which stands in for an image's.
func stage(t *testing.T, dir string, programs map[string]string) {
	t.Helper()
	copyTo := func(from, to string) {
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		// Set-user-id bits are wanted, links are not.
		if out, err := exec.Command("cp", "-L", "--preserve=mode", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for to, name := range programs {
		from, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		copyTo(from, to)
		libraries, err := exec.Command("ldd", from).Output()
		if err != nil {
			continue // it has none
		}
		for line := range strings.Lines(string(libraries)) {
			if path := library.FindString(strings.TrimSpace(line)); path != "" {
				copyTo(path, path)
			}
		}
	}
}

// packImage has the daemon build kiln's image from the definition that users
// have, and returns an archive with it.
func packImage(t *testing.T, d *daemon.Daemon, target string, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	programs := map[string]string{
		"usr/bin/kilnd": own(t, "kilnd"), "usr/bin/kiln": own(t, "kiln"), "usr/bin/buildkit-runc": "runc",
	}
	for to, name := range more {
		programs[to] = name
	}
	stage(t, filepath.Join(dir, "out"), programs)
	emulators := t.TempDir()
	stage(t, filepath.Join(emulators, "out"), map[string]string{"usr/bin/buildkit-qemu-aarch64": fixtures.Emulator(t) + "/buildkit-qemu-aarch64"})
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	run(t, "", nil, own(t, "kiln"), "--addr", d.Address, "build", "--progress=plain",
		"--file="+filepath.Join(tree, "packaging/image/Dockerfile"), "--target="+target, "--opt=context:build=local:build", "--local=build="+dir,
		"--opt=context:emulators=local:emulators", "--local=emulators="+emulators,
		"--opt=context:system=docker-image://"+base(t, "busybox"),
		"--output=type=docker,compression=uncompressed,name=kiln.test/kiln:"+target+",dest="+archive, tree).ok(t)
	return archive
}

// entrypoint reads from an archive what its image starts, which ctr does not
// put before arguments of one's own.
func entrypoint(t *testing.T, archive string) []string {
	t.Helper()
	member := func(name string, to any) {
		text, err := exec.Command("tar", "-xOf", archive, name).Output()
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatalf("%s of %s: %v", name, archive, err)
		}
	}
	var manifest []struct{ Config string }
	member("manifest.json", &manifest)
	var image struct{ Config struct{ Entrypoint []string } }
	member(manifest[0].Config, &image)
	return image.Config.Entrypoint
}

// box runs containers as Docker does for buildx, with a stock containerd.
type box struct {
	t      *testing.T
	socket string
	// bin has a "docker" that knows exec.
	bin string
}

// dockerExec is what connection helpers need of docker: "exec -i NAME COMMAND".
const dockerExec = `#!/bin/sh
[ "$1 $2" = "exec -i" ] || { echo "docker: $*: no such command" >&2; exit 1; }
name=$3; shift 3
exec '%s' -a '%s' task exec --exec-id "e$$" "$name" "$@"
`

func newBox(t *testing.T) *box {
	t.Helper()
	c, err := daemon.NewContainerd(t.Context(), "containerd", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := &box{t, c.Socket, t.TempDir()}
	script := fmt.Sprintf(dockerExec, foreign(t, "ctr"), c.Socket)
	if err := os.WriteFile(filepath.Join(e.bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *box) ctr(args ...string) outcome {
	e.t.Helper()
	return run(e.t, "", nil, foreign(e.t, "ctr"), append([]string{"-a", e.socket}, args...)...)
}

// start runs a container until the test ends, and waits until the daemon in it
// answers as buildx does.
func (e *box) start(image, name string, options, args []string) {
	e.t.Helper()
	all := append([]string{"run", "--detach", "--net-host"}, options...)
	log := filepath.Join(e.t.TempDir(), "log")
	e.ctr(append(append(all, "--log-uri=file://"+log, image, name), args...)...).ok(e.t)
	e.t.Cleanup(func() {
		_ = exec.Command(foreign(e.t, "ctr"), "-a", e.socket, "task", "kill", "--all", "--signal=SIGKILL", name).Run()
		for range 100 {
			if exec.Command(foreign(e.t, "ctr"), "-a", e.socket, "task", "delete", name).Run() == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		_ = exec.Command(foreign(e.t, "ctr"), "-a", e.socket, "container", "delete", name).Run()
		if e.t.Failed() {
			e.t.Logf("the container said:\n%s", read(e.t, log))
		}
	})
	var last outcome
	for i := range 100 {
		last = e.ctr("task", "exec", "--exec-id", fmt.Sprintf("ready%d", i), name, "buildctl", "debug", "workers")
		if last.err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	e.t.Fatalf("the daemon in the container does not answer: %s\n%s", last.stderr, read(e.t, log))
}

// TestImage builds kiln's image by kiln, runs it as buildx's docker-container
// driver does, and builds through it with buildx and kiln.
func TestImage(t *testing.T) {
	archive := packImage(t, watch(t), "root", map[string]string{"bin/unshare": "unshare"})
	e := newBox(t)
	e.ctr("image", "import", archive).ok(t)
	config := folder(t, "buildkitd.toml", "[worker.oci.labels]\nfrom = \"the-file\"\n")
	state := t.TempDir()
	e.start("kiln.test/kiln:root", "root", []string{"--privileged",
		"--mount=type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=rw:nosuid:noexec:nodev",
		"--mount=type=bind,src=" + state + ",dst=/var/lib/buildkit,options=rbind:rw",
		"--mount=type=bind,src=" + config + ",dst=/etc/buildkit,options=rbind:ro",
	}, append(entrypoint(t, archive), "--config", "/etc/buildkit/buildkitd.toml", "--allow-insecure-entitlement=network.host"))
	if v := e.ctr("task", "exec", "--exec-id=version", "root", "buildkitd", "--version").ok(t).stdout; len(strings.Fields(v)) != 4 {
		t.Errorf("version %q", v)
	}
	e.ctr("task", "exec", "--exec-id=true", "root", "/bin/true").ok(t)

	t.Setenv("PATH", e.bin+":"+os.Getenv("PATH"))
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN : inside; cat /proc/1/cmdline | tr '\\0' ' '\n")
	b := newBuildx(t, "docker-container://root")
	if out := b.run("inspect", "--bootstrap").ok(t).stdout; !strings.Contains(out, "the-file") {
		t.Errorf("the configuration is not used: %s", out)
	}
	if said := b.run("build", "--progress=plain", "--allow=network.host", dir).ok(t).stderr; !strings.Contains(said, "/bin/sh -c : inside") {
		t.Errorf("the step did not say its command: %s", said)
	}
	run(t, "", nil, own(t, "kiln"), "--addr=docker-container://root", "build", "--progress=plain", dir).ok(t)
	b.run("build", "--platform=linux/arm64", folder(t, "Dockerfile", "FROM "+base(t, "busybox-multi")+foreignFile)).ok(t)
	// Those who lost their parents were taken: nothing that ended is left.
	if left := e.ctr("task", "exec", "--exec-id=dead", "root", "sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status || :").ok(t).stdout; left != "" {
		t.Errorf("dead processes: %s", left)
	}

	// A client with a daemon for itself.
	out := e.ctr("task", "exec", "--exec-id=daemonless", "root", "env", "BUILDKITD_FLAGS=--root=/var/lib/buildkit/own",
		"buildctl-daemonless.sh", "debug", "workers").ok(t).stdout
	if !strings.Contains(out, "linux/") {
		t.Errorf("without a daemon: %q", out)
	}
}

// TestImageRootless runs the other variant as pods do: no capabilities that
// containers do not have anyway.
func TestImageRootless(t *testing.T) {
	archive := packImage(t, watch(t), "rootless", map[string]string{
		"usr/bin/rootlesskit": "rootlesskit", "usr/bin/newuidmap": "newuidmap", "usr/bin/newgidmap": "newgidmap",
		"sbin/setcap": "setcap",
	})
	e := newBox(t)
	e.ctr("image", "import", archive).ok(t)
	state := t.TempDir()
	if err := os.Chown(state, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	e.start("kiln.test/kiln:rootless", "rootless", []string{"--allow-new-privs",
		"--mount=type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid:noexec:nodev",
		// ctr covers /run, which Docker and Kubernetes do not.
		"--mount=type=tmpfs,src=tmpfs,dst=/run/user/1000,options=uid=1000:gid=1000:mode=0700",
		"--mount=type=bind,src=" + state + ",dst=/home/user/.local/share/buildkit,options=rbind:rw",
	}, append(entrypoint(t, archive), "--oci-worker-no-process-sandbox"))
	t.Setenv("PATH", e.bin+":"+os.Getenv("PATH"))
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+rootlessFile)
	run(t, "", nil, own(t, "kiln"), "--addr=docker-container://rootless", "build", "--progress=plain", dir).ok(t)
}
