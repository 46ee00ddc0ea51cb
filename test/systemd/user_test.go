package systemd_test

import (
	"strings"
	"testing"
)

// user is an ordinary user of a machine, with a service manager of its own.
type user struct {
	*machine
	name, id string
}

// newUser adds one with the ids that useradd gives, or none.
func (m *machine) newUser(name string, options ...string) *user {
	m.t.Helper()
	m.run(append(append([]string{"useradd", "--create-home"}, options...), name)...)
	u := &user{m, name, strings.TrimSpace(m.run("id", "-u", name))}
	// This is PAM's to say where users log in.
	m.write("/etc/systemd/system/user@.service.d/runtime.conf", "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n", 0o644)
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "user@"+u.id+".service")
	return u
}

// as tries a command as the user.
func (u *user) as(args ...string) (string, error) {
	return u.try(append([]string{"runuser", "-u", u.name, "--", "env", "HOME=/home/" + u.name, "USER=" + u.name,
		"XDG_RUNTIME_DIR=/run/user/" + u.id}, args...)...)
}

// ordinaryUser builds without root, through the socket of the user's manager.
func ordinaryUser(t *testing.T, m *machine) {
	// Who may open the device is decided by rules of a udev that the machine does not have.
	m.run("mknod", "-m", "666", "/root/tun", "c", "10", "200")
	m.run("mount", "--bind", "/root/tun", "/dev/net/tun")
	t.Cleanup(func() { m.run("umount", "-l", "/dev/net/tun") })
	m.run("cp", "-r", "/root/context", "/srv/context")

	alice := m.newUser("alice")
	address := "unix:///run/user/" + alice.id + "/kiln/kilnd.sock"
	if out, err := alice.as("systemctl", "--user", "enable", "--now", "kiln.socket"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, network := range []string{"slirp4netns", "host"} {
		if network == "host" {
			m.write("/home/alice/.config/kiln/rootless.env", `KILN_ROOTLESSKIT_FLAGS=--net=host --copy-up=/etc`+"\n", 0o644)
			if out, err := alice.as("systemctl", "--user", "stop", "kiln.service", "kiln-rootless.service"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		out, err := alice.as("kiln", "--addr", address, "--timeout=60", "build", "--no-cache", "--progress=plain", "/srv/context")
		if err != nil || !strings.Contains(out, "a step runs") {
			journal, _ := m.try("journalctl", "--no-pager", "_UID="+alice.id)
			t.Fatalf("%s: %v: %s\n%s", network, err, out, journal)
		}
		if out := m.run("sh", "-c", `cat /proc/[0-9]*/cmdline | tr '\0' ' '`); !strings.Contains(out, "--net="+network) {
			t.Errorf("rootlesskit does not run with %s: %s", network, out)
		}
	}
	if journal := m.run("journalctl", "--no-pager", "_UID="+alice.id); strings.Count(journal, "rootless: ") != 2 {
		t.Errorf("each start warns of what is missing in one line:\n%s", journal)
	}
	if !m.exists("/home/alice/.local/share/kiln/format") {
		t.Error("the user's state is elsewhere")
	}

	// Without further ids there is one line that says so.
	bob := m.newUser("bob", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0")
	if out, err := bob.as("systemctl", "--user", "start", "kiln-rootless.service"); err == nil {
		t.Errorf("a user without further ids has a daemon: %s", out)
	}
	if journal := m.run("journalctl", "--no-pager", "_UID="+bob.id); !strings.Contains(journal, "No subuid ranges found") {
		t.Errorf("journal:\n%s", journal)
	}
	for _, u := range []*user{alice, bob} {
		m.run("systemctl", "stop", "user@"+u.id+".service")
	}
}
