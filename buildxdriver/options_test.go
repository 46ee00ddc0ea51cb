package buildxdriver

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/docker/buildx/driver"
)

func TestOptions(t *testing.T) {
	const engine = "unix:///var/run/docker.sock"
	for name, c := range map[string]struct {
		endpoint, host      string
		opts                map[string]string
		socket, root, state string
	}{
		"nothing":  {engine, "", nil, "/run/kiln/kilnd.sock", "/var/lib/kiln", "/run/kiln"},
		"context":  {"desktop-linux", "", nil, "/run/kiln/kilnd.sock", "/var/lib/kiln", "/run/kiln"},
		"variable": {engine, "unix:///h/k.sock", nil, "/h/k.sock", "/var/lib/kiln", "/run/kiln"},
		"endpoint": {"unix:///e/kilnd.sock", "unix:///h/k.sock", nil, "/e/kilnd.sock", "/var/lib/kiln", "/run/kiln"},
		"option":   {"unix:///e/kilnd.sock", "unix:///h/k.sock", map[string]string{"socket": "/o/../o.sock"}, "/o.sock", "/var/lib/kiln", "/run/kiln"},
		"root":     {engine, "unix:///h/k.sock", map[string]string{"root": "/r"}, "/r/run/kilnd.sock", "/r", "/r/run"},
		"state":    {engine, "unix:///h/k.sock", map[string]string{"state": "/s/"}, "/s/kilnd.sock", "/var/lib/kiln", "/s"},
	} {
		env := func(key string) (string, bool) { return c.host, key == "KILN_HOST" && c.host != "" }
		o, err := parseOptions(driver.InitConfig{Name: driver.BuilderName("k0"), EndpointAddr: c.endpoint, DriverOpts: c.opts}, env, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if o.socket != c.socket || o.root != c.root || o.state != c.state || !strings.HasPrefix(o.room, c.state+"/buildx-k0-") {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint, host, key, value, want string
	}{
		"relative": {key: "state", value: "s", want: `driver option state: "s" is not an absolute path`},
		"unknown":  {key: "image", value: "x", want: `"image" is unknown`},
		"number":   {key: "default-load", value: "perhaps", want: "default-load"},
		"network":  {key: "socket", value: "tcp://h:1", want: "the remote driver"},
		"variable": {key: "namespace", value: "n", host: "tcp://h:1", want: "$KILN_HOST"},
		"endpoint": {key: "namespace", value: "n", endpoint: "ssh://h/run/kilnd.sock", want: "read endpoint"},
	} {
		env := func(string) (string, bool) { return c.host, c.host != "" }
		_, err := parseOptions(driver.InitConfig{EndpointAddr: c.endpoint, DriverOpts: map[string]string{c.key: c.value}}, env, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRoomsDiffer keeps users with builders of one name apart.
func TestRoomsDiffer(t *testing.T) {
	rooms := map[string]bool{}
	for _, store := range []string{"/home/a/.docker/buildx", "/home/b/.docker/buildx"} {
		env := func(key string) (string, bool) { return store, key == "BUILDX_CONFIG" }
		o, err := parseOptions(driver.InitConfig{Name: driver.BuilderName("k0")}, env, 0)
		if err != nil {
			t.Fatal(err)
		}
		rooms[o.room] = true
	}
	if len(rooms) != 2 {
		t.Errorf("rooms %v", slices.Collect(maps.Keys(rooms)))
	}
}

// TestUsersSocket is that of the user where the system's cannot be used.
func TestUsersSocket(t *testing.T) {
	dir := t.TempDir()
	env := func(key string) (string, bool) { return dir, key == "XDG_RUNTIME_DIR" }
	o, err := parseOptions(driver.InitConfig{}, env, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if want := dir + "/kiln/kilnd.sock"; o.socket != want && o.socket != "/run/kiln/kilnd.sock" {
		t.Errorf("socket %s", o.socket)
	}
}

func TestArguments(t *testing.T) {
	o, err := parseOptions(driver.InitConfig{DriverOpts: map[string]string{
		"root": "/r", "containerd": "unix:///run/containerd/containerd.sock", "namespace": "k8s.io", "config": "/c.toml",
	}}, func(string) (string, bool) { return "", false }, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &Driver{opts: o, cfg: driver.InitConfig{BuildkitdFlags: []string{"--debug"}, Files: map[string][]byte{"buildkitd.toml": nil}}}
	args, err := d.arguments()
	if want := "--root /r --state /r/run --addr unix:///r/run/kilnd.sock --config /c.toml " +
		"--containerd unix:///run/containerd/containerd.sock --namespace k8s.io --debug"; err != nil || strings.Join(args, " ") != want {
		t.Errorf("%q, %v", args, err)
	}
}

func TestWriteFiles(t *testing.T) {
	if _, err := writeFiles(t.TempDir(), map[string][]byte{"../out": nil}); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("%v", err)
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"PATH=/bin", "NOTIFY_SOCKET=/n", "LISTEN_FDS=1", "BUILDX_BUILDER=b", "HTTPS_PROXY=p", "OTEL_X=1"})
	if strings.Join(got, " ") != "PATH=/bin HTTPS_PROXY=p" {
		t.Errorf("%q", got)
	}
}
