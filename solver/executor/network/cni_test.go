package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// pluginDirs is where packages put the standard plugins.
var pluginDirs = append([]string{DefaultCNIBinaries}, otherBinaries...)

func pluginDir(t *testing.T) string {
	t.Helper()
	for _, dir := range pluginDirs {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	t.Fatal("no CNI plugins (Debian package containernetworking-plugins, see .ci/install)")
	return ""
}

func cniConfig(t *testing.T) (cfg Config, leases string) {
	dir := t.TempDir()
	leases = filepath.Join(dir, "leases")
	conf := filepath.Join(dir, "cni.json")
	check(t, os.WriteFile(conf, []byte(fmt.Sprintf(`{
		"cniVersion": "0.4.0", "name": "kilntest", "type": "bridge", "bridge": "kilncni0", "isDefaultGateway": true, "ipMasq": false,
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.78.0.0/24"}]]}
	}`, leases)), 0o600))
	return Config{Root: filepath.Join(dir, "net"), Mode: ModeCNI, CNIConfig: conf, CNIBinaries: pluginDir(t)}, leases
}

// given counts the addresses that the plugin gave away.
func given(t *testing.T, leases string) int {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(leases, "kilntest", "10.*"))
	check(t, err)
	return len(all)
}

func TestCNI(t *testing.T) {
	cfg, leases := cniConfig(t)
	cfg.PoolSize = 2
	n := open(t, cfg)
	if n.Label() != ModeCNI {
		t.Errorf("label %s", n.Label())
	}
	if g := n.Gateway().String(); g != "10.78.0.1" {
		t.Errorf("gateway is %s", g)
	}
	a, b := take(t, n), take(t, n)
	if x, y := address(t, a.Path()), address(t, b.Path()); x == y || x == "" {
		t.Errorf("addresses %s and %s", x, y)
	}
	named, err := n.Sandbox(t.Context(), "builder")
	check(t, err)
	path := named.Path()
	check(t, named.Release(t.Context(), false))
	c := take(t, n)
	if c.Path() == path {
		t.Error("the network of a named container was used again")
	}
	for _, s := range []interface{ Path() string }{a, b, c} {
		if !netns.Mounted(s.Path()) {
			t.Errorf("%s is no namespace", s.Path())
		}
	}
	check(t, a.Release(t.Context(), false))
	check(t, b.Release(t.Context(), true))
	check(t, n.Close(t.Context()))
	if given(t, leases) != 1 {
		t.Errorf("%d addresses are given away, expected the one in use", given(t, leases))
	}
	check(t, c.Release(t.Context(), false))
	if given(t, leases) != 0 {
		t.Errorf("%d addresses are left", given(t, leases))
	}
}

// TestCNICrash finds, after a crash, one network that is still there and one
// that a reboot took: the addresses of both come back.
func TestCNICrash(t *testing.T) {
	cfg, leases := cniConfig(t)
	first, err := Open(t.Context(), cfg)
	check(t, err)
	a, b := take(t, first), take(t, first)
	crash(t, first)
	check(t, netns.Remove(b.Path()))
	check(t, os.WriteFile(b.Path(), nil, 0o400))
	second := open(t, cfg)
	check(t, second.Close(t.Context()))
	if given(t, leases) != 0 || netns.Mounted(a.Path()) {
		t.Errorf("%d addresses are left", given(t, leases))
	}
}

// TestCNIGateway has a network whose way out is not this machine.
func TestCNIGateway(t *testing.T) {
	cfg, _ := cniConfig(t)
	data, err := os.ReadFile(cfg.CNIConfig)
	check(t, err)
	other := strings.NewReplacer("kilncni0", "kilncni1", "10.78.", "10.79.", `"isDefaultGateway": true`, `"isGateway": false`).Replace(string(data))
	check(t, os.WriteFile(cfg.CNIConfig, []byte(other), 0o600))
	if g := open(t, cfg).Gateway(); g.IsValid() {
		t.Errorf("gateway is %s, where none is ours", g)
	}
}

func TestCNIRefused(t *testing.T) {
	cfg, _ := cniConfig(t)
	cfg.CNIConfig += ".missing"
	if _, err := Open(t.Context(), cfg); !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("missing configuration: %v", err)
	}
	cfg, _ = cniConfig(t)
	cfg.CNIBinaries = t.TempDir()
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("missing plugins are no error")
	}
	if left := traces(t, cfg.Root); len(left) != len(traces(t, t.TempDir())) {
		t.Errorf("left behind: %v", left)
	}
}

// unwrapAll finds the first error of a chain.
func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			return err
		}
		err = u.Unwrap()
	}
}

func TestSettle(t *testing.T) {
	dir := t.TempDir()
	there, missing := filepath.Join(dir, "cni.json"), filepath.Join(dir, "missing.json")
	check(t, os.WriteFile(there, []byte("{}"), 0o600))
	for _, tt := range []struct{ mode, config, env, want string }{
		{"", there, "", ModeCNI},
		{"", missing, "", ModeHost},
		{ModeAuto, missing, "", ModeHost},
		{ModeAuto, missing, "1", ModeBridge},
		{ModeAuto, there, "true", ModeBridge},
		{ModeAuto, there, "0", ModeCNI},
		{ModeAuto, there, "perhaps", ModeCNI},
		{ModeHost, there, "1", ModeHost},
		{ModeBridge, there, "", ModeBridge},
		{ModeCNI, missing, "", ModeCNI},
	} {
		t.Setenv(envBridgeAuto, tt.env)
		cfg := Config{Mode: tt.mode, CNIConfig: tt.config}
		cfg.fill()
		if got, err := settle(cfg); err != nil || got != tt.want {
			t.Errorf("mode %q, env %q: got %s, %v; want %s", tt.mode, tt.env, got, err, tt.want)
		}
	}
}

func TestHost(t *testing.T) {
	n := open(t, Config{Root: t.TempDir(), Mode: ModeHost})
	s := take(t, n)
	if s.Path() != "" || n.Label() != ModeHost {
		t.Errorf("path %q, label %q", s.Path(), n.Label())
	}
	check(t, s.Release(t.Context(), false))
}
