package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ordinary is an ordinary user of the test's: nobody but the processes it
// starts knows them.
type ordinary struct {
	t *testing.T
	// dir is the user's home, and has everything.
	dir string
	// log is what the user's commands say.
	log *os.File
}

// ordinaryID is a user id that no one has, as with its 65536 others.
const ordinaryID, ordinaryIDs = 47110, 471100000

// newOrdinary makes the user's home with the programs to run.
func newOrdinary(t *testing.T) *ordinary {
	t.Helper()
	// Not the test's own folder: only root may enter that.
	dir, err := os.MkdirTemp("", "kiln-rootless-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(own(t, "kilnd"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kilnd"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": fmt.Sprintf("root:x:0:0::/root:/bin/sh\nordinary:x:%d:%d::%s:/bin/sh\n", ordinaryID, ordinaryID, dir),
		"group":  fmt.Sprintf("root:x:0:\nordinary:x:%d:\n", ordinaryID),
		"subuid": fmt.Sprintf("ordinary:%d:65536\n", ordinaryIDs),
		"subgid": fmt.Sprintf("ordinary:%d:65536\n", ordinaryIDs),
	} {
		write(t, filepath.Join(dir, name), text)
	}
	// A registry of this machine, as the user's own network sees it.
	_, port, _ := strings.Cut(world.registry.Addr, ":")
	write(t, filepath.Join(dir, ".config/kiln/kilnd.toml"), fmt.Sprintf("[registry.\"10.0.2.2:%s\"]\nhttp = true\n", port))
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", ordinaryID, ordinaryID), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return &ordinary{t, dir, log}
}

// become makes the user, and the device that networks of users need, known in
// a mount namespace, and starts a command as that user. Its arguments are the
// home, the user id, and the command.
const become = `set -e
dir=$1 id=$2; shift 2
for f in passwd group subuid subgid; do mount --bind "$dir/$f" /etc/$f; done
mount -t tmpfs -o mode=755 tmpfs /mnt
mknod -m 666 /mnt/tun c 10 200
[ ! -e /dev/net/tun ] || mount --bind /mnt/tun /dev/net/tun
export HOME="$dir" XDG_RUNTIME_DIR="$dir/run" USER=ordinary
cd "$dir"
exec setpriv --reuid="$id" --regid="$id" --clear-groups "$@"`

// command is a command of the user's. It ends with the test.
func (o *ordinary) command(args ...string) *exec.Cmd {
	id := strconv.Itoa(ordinaryID)
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation=private", "sh", "-c", become, "sh", o.dir, id}, args...)...)
	cmd.Stdout, cmd.Stderr = o.log, o.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME=", "XDG_DATA_HOME=")
	return cmd
}

// serve starts kilnd with rootlesskit and returns its address.
func (o *ordinary) serve(network string, flags ...string) string {
	o.t.Helper()
	args := append([]string{"rootlesskit", "--net=" + network, "--copy-up=/etc", "--copy-up=/run", o.dir + "/kilnd"}, flags...)
	cmd := o.command(args...)
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	o.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if o.t.Failed() {
			o.t.Logf("kilnd said:\n%s", read(o.t, o.log.Name()))
		}
	})
	address := "unix://" + filepath.Join(o.dir, "run/kiln/kilnd.sock")
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if run(o.t, "", nil, own(o.t, "kiln"), "--addr", address, "debug", "workers").err == nil {
			return address
		}
	}
	o.t.Fatal("kilnd does not answer")
	return ""
}

// said are the lines of warnings about being rootless; there has to be one.
func (o *ordinary) said(want ...string) {
	o.t.Helper()
	var lines []string
	for line := range strings.Lines(read(o.t, o.log.Name())) {
		if strings.Contains(line, "level=warning") && strings.Contains(line, "rootless: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		o.t.Fatalf("warnings %q", lines)
	}
	for _, w := range want {
		if !strings.Contains(lines[0], w) {
			o.t.Errorf("the warning %q does not say %q", lines[0], w)
		}
	}
}

// rootlessFile makes what is hard without root: owners, whiteouts, a directory
// that replaces another, special files, and a process that stays.
const rootlessFile = `
RUN id -u && mkdir /d && touch /d/old /gone && chown 1000:50000 /d/old && mkfifo /pipe && (sleep 600 &)
RUN rm -r /d /gone && mkdir /d && touch /d/new
COPY --chown=65534:65534 Dockerfile /of-nobody
USER 65534
RUN test ! -e /gone && test ! -e /d/old && ls -ln /of-nobody
`

// TestRootless builds as an ordinary user, with both networks and without
// namespaces for processes.
func TestRootless(t *testing.T) {
	for name, tt := range map[string]struct {
		network string
		flags   []string
		want    []string
	}{
		"host":        {"host", nil, []string{"daemon's network", "limits"}},
		"slirp4netns": {"slirp4netns", nil, nil},
		"no sandbox":  {"host", []string{"--oci-worker-no-process-sandbox"}, []string{"each other's"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrdinary(t)
			address := o.serve(tt.network, tt.flags...)
			ref := base(t, "busybox")
			if tt.network != "host" {
				_, rest, _ := strings.Cut(ref, ":")
				ref = "10.0.2.2:" + rest
			}
			dir, out := folder(t, "Dockerfile", "FROM "+ref+rootlessFile), t.TempDir()
			built := run(t, "", nil, own(t, "kiln"), "--addr", address, "build", "--progress=plain", "--output=type=local,dest="+out, dir).ok(t)
			if !strings.Contains(built.stderr, "65534    65534") {
				t.Errorf("the owner of a copied file is not seen:\n%s", built.stderr)
			}
			if _, err := os.Stat(filepath.Join(out, "d/new")); err != nil {
				t.Error(err)
			}
			for _, gone := range []string{"gone", "d/old"} {
				if _, err := os.Lstat(filepath.Join(out, gone)); !os.IsNotExist(err) {
					t.Errorf("%s is there: %v", gone, err)
				}
			}
			o.said(tt.want...)
		})
	}
}

// TestRootlessQuickstart installs a compiler and builds with it, rootlessly.
func TestRootlessQuickstart(t *testing.T) {
	address := newOrdinary(t).serve("host")
	dir, args := quickstart(t)
	out := t.TempDir()
	options := []string{"--addr", address, "build", "--progress=plain", "--output=type=local,dest=" + out}
	for _, a := range args {
		options = append(options, "--build-arg="+a)
	}
	run(t, "", nil, own(t, "kiln"), append(options, dir)...).ok(t)
	hello(t, out)
}

// TestRootlessRefused: who is no root, and has no user namespace, learns how to
// get one.
func TestRootlessRefused(t *testing.T) {
	o := newOrdinary(t)
	if err := o.command(o.dir + "/kilnd").Run(); err == nil {
		t.Error("kilnd ran")
	}
	said := read(t, o.log.Name())
	if want := "rootlesskit --net=host --copy-up=/etc --copy-up=/run kilnd"; strings.Count(said, "\n") != 1 || !strings.Contains(said, want) {
		t.Errorf("kilnd said %q", said)
	}
}
