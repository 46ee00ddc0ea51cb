package systemd_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// pack builds a package of a kind, deb or rpm, from the programs that all tests
// use.
func pack(t *testing.T, kind, version string) string {
	t.Helper()
	var bin string
	for _, name := range []string{"kiln", "kilnd"} {
		path, err := daemon.Program(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		bin = filepath.Dir(path)
	}
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "packaging/build.sh"), "--kinds", kind, "--out", out)
	cmd.Env = append(os.Environ(), "KILN_BIN="+bin, "VERSION="+version)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("package: %v\n%s", err, text)
	}
	made, err := filepath.Glob(filepath.Join(out, "*."+kind))
	if err != nil || len(made) != 1 {
		t.Fatalf("packages: %v, %v", made, err)
	}
	return made[0]
}

// dockerfile's step tells how often it runs; slow waits for a connection, so that something can happen meanwhile.
const dockerfile = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo a step runs; /bin/busybox cat /proc/self/cgroup"]
`

const slow = dockerfile + `ARG PORT
RUN ["/bin/busybox", "sh", "-c", "echo it begins; /bin/busybox nc -l -p $PORT; echo it ends"]
`

// TestPackage walks through the life of a machine that has kiln.
func TestPackage(t *testing.T) {
	deb := pack(t, "deb", "0.0.1")
	m := boot(t)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.try("journalctl", "--no-pager", "-n", "80")
			t.Log(out)
		}
	})
	buildx, err := daemon.Client(t.Context(), "buildx")
	if err != nil {
		t.Fatal(err)
	}
	m.copy(buildx, "/usr/bin/buildx", 0o755)
	m.copy(deb, "/root/kiln.deb", 0o644)
	m.copy(filepath.Join(m.root, "bin/busybox"), "/root/context/busybox", 0o755)
	m.write("/root/context/Dockerfile", dockerfile, 0o644)
	m.write("/root/context/slow", slow, 0o644)
	for _, other := range []string{"/var/lib/buildkit/theirs", "/etc/buildkit/buildkitd.toml", "/var/lib/containerd/theirs"} {
		m.write(other, "", 0o644)
	}

	for _, part := range []struct {
		name string
		run  func(t *testing.T, m *machine)
	}{
		{"install", install}, {"first build", firstBuild}, {"idle", idle}, {"killed", killed}, {"stuck", stuck},
		{"reload", reload}, {"slice", slice}, {"user", ordinaryUser}, {"upgrade", upgrade}, {"purge", purge},
	} {
		// Each part begins where the last ended.
		if !t.Run(part.name, func(t *testing.T) { part.run(t, &machine{t, m.root, m.leader}) }) {
			return
		}
	}
}

func install(t *testing.T, m *machine) {
	m.run("dpkg", "--install", "/root/kiln.deb")
	for _, unit := range []string{"kiln.socket", "kiln-docker.socket"} {
		if state, enabled := m.show(unit, "ActiveState"), m.show(unit, "UnitFileState"); state != "active" || enabled != "enabled" {
			t.Errorf("%s is %s and %s", unit, state, enabled)
		}
	}
	if state := m.show("kiln.service", "ActiveState"); state != "inactive" {
		t.Errorf("the daemon is %s before anybody needs it", state)
	}
	if mode := m.run("stat", "-c", "%a %G", "/run/kiln/kilnd.sock"); mode != "660 kiln\n" {
		t.Errorf("socket: %s", mode)
	}
	// What follows does not wait for minutes.
	m.write("/etc/systemd/system/kiln.service.d/test.conf", "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n", 0o644)
	m.run("systemctl", "daemon-reload")
	config := m.run("cat", "/etc/kiln/kilnd.toml")
	m.write("/etc/kiln/kilnd.toml", strings.Replace(config, `"15m"`, `"2s"`, 1), 0o644)
}

// firstBuild has each door start the daemon, or find it there.
func firstBuild(t *testing.T, m *machine) {
	out := m.run("buildx", "build", "--tag", "first", "/root/context")
	if !strings.Contains(out, "a step runs") {
		t.Errorf("docker build:\n%s", out)
	}
	// What limits the unit limits the steps. A namespace would begin at the step.
	if !strings.Contains(out, ":/system.slice/kiln.service/buildkit/") && !strings.Contains(out, " 0::/\n") {
		t.Errorf("the step's control group is not below that of the unit:\n%s", out)
	}
	if out := m.run("kiln", "build", "/root/context"); !strings.Contains(out, "CACHED") {
		t.Errorf("kiln build:\n%s", out)
	}
	if status := m.show("kiln.service", "StatusText"); status != "idle" {
		t.Errorf("status %q", status)
	}
}

func idle(t *testing.T, m *machine) {
	m.stopped()
	if result, code := m.show("kiln.service", "Result"), m.show("kiln.service", "ExecMainStatus"); result != "success" || code != "0" {
		t.Errorf("idle stop: %s, code %s", result, code)
	}
	begin := time.Now()
	m.run("kiln", "debug", "workers")
	t.Logf("first answer of a daemon that was idle, with the client's start: %s", time.Since(begin).Round(time.Millisecond))
	if out := m.run("kiln", "build", "/root/context"); !strings.Contains(out, "CACHED") {
		t.Errorf("build after idle stop:\n%s", out)
	}
}

// stopped waits for the idle stop.
func (m *machine) stopped() {
	m.t.Helper()
	m.until("the daemon ends when idle", func() bool { return m.show("kiln.service", "ActiveState") == "inactive" })
}

// again waits for another process than pid.
func (m *machine) again(pid string) {
	m.t.Helper()
	m.until("there is a new daemon", func() bool {
		return m.show("kiln.service", "ActiveState") == "active" && m.show("kiln.service", "MainPID") != pid
	})
}

// held returns the daemon's process, which a client holds until the test ends.
func (m *machine) held() (pid string) {
	m.t.Helper()
	cmd := m.command(m.t.Context(), "kiln", "debug", "monitor")
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	m.until("the daemon serves", func() bool { return m.show("kiln.service", "ActiveState") == "active" })
	return m.show("kiln.service", "MainPID")
}

func killed(t *testing.T, m *machine) {
	pid := m.held()
	m.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "kiln.service")
	m.again(pid)
	if out := m.run("kiln", "build", "/root/context"); !strings.Contains(out, "CACHED") {
		t.Errorf("build after kill -9:\n%s", out)
	}
}

func stuck(t *testing.T, m *machine) {
	pid := m.held()
	m.run("systemctl", "kill", "--kill-who=main", "--signal=STOP", "kiln.service")
	m.again(pid)
	if journal := m.run("journalctl", "--no-pager", "-u", "kiln.service"); !strings.Contains(journal, "Watchdog timeout") {
		t.Errorf("journal:\n%s", journal)
	}
	m.run("kiln", "build", "/root/context")
}

func reload(t *testing.T, m *machine) {
	pid := m.held()
	m.run("systemctl", "reload", "kiln.service")
	m.until("the reload is over", func() bool { return m.show("kiln.service", "ActiveState") == "active" })
	if now := m.show("kiln.service", "MainPID"); now != pid {
		t.Errorf("reload started another daemon")
	}
	m.until("the journal tells", func() bool {
		return strings.Contains(m.run("journalctl", "--no-pager", "-u", "kiln.service"), "configuration was read again")
	})
}

// slice has systemd itself make the control groups of steps.
func slice(t *testing.T, m *machine) {
	config := m.run("cat", "/etc/kiln/kilnd.toml")
	m.write("/etc/kiln/kilnd.toml", config+"[worker.oci]\ndefaultCgroupParent = \"images.slice:build:\"\n", 0o644)
	m.run("systemctl", "try-restart", "kiln.service")
	if out := m.run("kiln", "build", "--no-cache", "--progress=plain", "/root/context"); !strings.Contains(out, "/images.slice/build-") {
		t.Errorf("the step's control group is not in the slice:\n%s", out)
	}
	m.write("/etc/kiln/kilnd.toml", config, 0o644)
	m.run("systemctl", "try-restart", "kiln.service")
}

// freePort is one that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// upgrade installs the package again while a build runs.
func upgrade(t *testing.T, m *machine) {
	type outcome struct {
		out string
		err error
	}
	done, port := make(chan outcome, 1), freePort(t)
	go func() {
		out, err := m.try("buildx", "build", "--file", "/root/context/slow", "--build-arg", "PORT="+port, "/root/context")
		done <- outcome{out, err}
	}()
	m.until("a build runs", func() bool { return m.show("kiln.service", "StatusText") == "1 build running" })
	pid := m.show("kiln.service", "MainPID")
	m.run("dpkg", "--install", "/root/kiln.deb")
	select {
	case o := <-done:
		t.Errorf("the build ended before the upgrade: %v\n%s", o.err, o.out)
	default:
	}
	m.until("the step goes on", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if o := <-done; o.err != nil || !strings.Contains(o.out, "it ends") {
		t.Errorf("the build did not survive the upgrade: %v\n%s", o.err, o.out)
	}
	m.again(pid)
	if config := m.run("cat", "/etc/kiln/kilnd.toml"); !strings.Contains(config, `"2s"`) {
		t.Error("the configuration was overwritten")
	}
}

func purge(t *testing.T, m *machine) {
	m.run("dpkg", "--purge", "kiln")
	for _, path := range []string{"/var/lib/kiln", "/run/kiln", "/etc/kiln", "/usr/bin/kilnd", "/lib/systemd/system/kiln.service"} {
		if m.exists(path) {
			t.Errorf("%s is left", path)
		}
	}
	for _, path := range []string{"/var/lib/buildkit/theirs", "/etc/buildkit/buildkitd.toml", "/var/lib/containerd/theirs"} {
		if !m.exists(path) {
			t.Errorf("%s is gone", path)
		}
	}
	if mounts := m.run("cat", "/proc/mounts"); strings.Contains(mounts, "kiln") {
		t.Errorf("mounts are left:\n%s", mounts)
	}
}
