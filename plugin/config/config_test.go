package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/plugin/config"
)

const everything = `
debug = true
root = "/srv/kiln"
insecure-entitlements = ["network.host", "security.insecure"]
proxyNetwork = true
provenanceEnvDir = "/etc/p"
[log]
format = "json"
level = "warn"
[grpc]
address = ["tcp://0.0.0.0:1234", "fd://"]
uid = 0
gid = 7
[grpc.tls]
cert = "c"
key = "k"
ca = "a"
[otel]
socketPath = "/run/otel"
[cdi]
disabled = true
specDirs = ["/a"]
[history]
maxAge = 172800
maxEntries = 10
[dns]
nameservers = ["1.1.1.1"]
options = ["edns0"]
searchDomains = ["example.com"]
[system]
platformsCacheMaxAge = "-1s"
maxRegistryConcurrency = 8
[frontend."dockerfile.v0"]
enabled = false
[frontend."gateway.v0"]
allowedRepositories = ["docker.io/docker/dockerfile"]
[registry."docker.io"]
mirrors = ["mirror.gcr.io", "10.0.0.1:5000/docker"]
http = true
insecure = true
ca = ["/ca.pem"]
tlsconfigdir = ["/dir"]
[[registry."docker.io".keypair]]
key = "k"
cert = "c"
[cache.gha.sign]
command = []
[cache.gha.verify]
required = false
[cache.gha.verify.policy]
timestampThreshold = 1
buildSignerURI = "https://example.com/*"
[worker.oci]
enabled = true
snapshotter = "kiln"
gc = true
reservedSpace = "30%"
maxUsedSpace = 123
minFreeSpace = "10GB"
max-parallelism = 4
networkMode = "host"
[worker.oci.labels]
"foo" = "bar"
[worker.oci.stargzSnapshotter]
noprefetch = true
[[worker.oci.gcpolicy]]
keepBytes = "512MB"
keepDuration = "48h"
filters = ["type==source.local"]
[[worker.oci.gcpolicy]]
all = true
reservedSpace = "1GB"
[worker.containerd]
address = "/run/containerd/containerd.sock"
namespace = "default"
[worker.containerd.runtime]
name = "io.containerd.runc.v2"
options = { BinaryName = "crun" }
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, warnings, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	return cfg
}

func TestEverything(t *testing.T) {
	cfg := parse(t, everything)
	hub := cfg.Registry["docker.io"]
	for what, ok := range map[string]bool{
		"root":       cfg.Root == "/srv/kiln",
		"addresses":  len(cfg.GRPC.Address) == 2,
		"gid":        cfg.GRPC.GID != nil && *cfg.GRPC.GID == 7,
		"history":    cfg.History.MaxAge.Duration == 48*time.Hour && cfg.History.MaxEntries == 10,
		"platforms":  cfg.System.PlatformsCacheMaxAge.Duration == -time.Second,
		"frontend":   !*cfg.Frontend.Dockerfile.Enabled && cfg.Frontend.Gateway.Enabled == nil,
		"registry":   len(hub.Mirrors) == 2 && *hub.PlainHTTP && *hub.Insecure && hub.KeyPairs[0].Certificate == "c",
		"gha":        cfg.Cache.GHA.Verify.Policy.BuildSignerURI == "https://example.com/*",
		"space":      cfg.Workers.OCI.Reserved.Percentage == 30 && cfg.Workers.OCI.MaxUsed.Bytes == 123 && cfg.Workers.OCI.MinFree.Bytes == 10<<30,
		"network":    cfg.Workers.OCI.Mode == "host",
		"policies":   len(cfg.Workers.OCI.Policies) == 2 && cfg.Workers.OCI.Policies[0].KeepBytes.Bytes == 512<<20,
		"containerd": cfg.Workers.Containerd.Runtime.Options["BinaryName"] == "crun",
	} {
		if !ok {
			t.Errorf("%s was not read", what)
		}
	}
	want := []config.Policy{
		{Filters: []string{"type==source.local"}, KeepDuration: 48 * time.Hour, Reserved: 512 << 20},
		{All: true, Reserved: 1 << 30},
	}
	if diff := cmp.Diff(want, cfg.Workers.OCI.GCPolicies(0)); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownKeys(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"[worker.oci]\nmax-paralelism = 4", `line 2: unknown key "worker.oci.max-paralelism"; did you mean "worker.oci.max-parallelism"?`},
		{"[worker.containerd]\nreservedspaces = 4", `line 2: unknown key "worker.containerd.reservedspaces"; did you mean "worker.containerd.reservedSpace"?`},
		{"addres = ['x']", `line 1: unknown key "addres"; did you mean "grpc.address"?`},
		{"[registry.\"docker.io\"]\nmirror = ['x']", `line 2: unknown key "registry.docker.io.mirror"; did you mean "registry.*.mirrors"?`},
		{"\n\nzzzzzzzz = 1", `line 3: unknown key "zzzzzzzz"`},
	} {
		_, warnings, err := config.Parse([]byte(tc.text))
		if err != nil || len(warnings) != 1 || warnings[0].String() != tc.want {
			t.Errorf("%q: %v, %v; want %s", tc.text, warnings, err, tc.want)
		}
	}
	cfg, warnings, err := config.Parse([]byte("wrong = 1\nroot = '/r'\n"))
	if err != nil || len(warnings) != 1 || cfg.Root != "/r" {
		t.Errorf("keys after an unknown one: %v %v %v", cfg, warnings, err)
	}
}

func TestInvalid(t *testing.T) {
	for text, want := range map[string]string{
		"root = [":                               "line 1",
		"\nroot = 7":                             "line 2",
		"[history]\nmaxAge = 'soon'":             "invalid duration",
		"[worker.oci]\nreservedSpace = '120%'":   "invalid share",
		"[worker.oci]\nreservedSpace = 'much'":   "invalid disk space",
		"[system]\nmaxRegistryConcurrency = 0":   "must be positive",
		"[log]\nformat = 'xml'":                  "unsupported log type",
		"[grpc.tls]\ncert = 'c'":                 "both cert and key",
		"[cache.gha.verify]\nrequired = true":    "not verified by kilnd",
		"[cache.gha.sign]\ncommand = ['sign']":   "does not sign",
		"unknown = 1\n[history]\nmaxAge = 'bad'": "invalid duration",
	} {
		_, _, err := config.Parse([]byte(text))
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if cfg, _, err := config.Load(filepath.Join(dir, "missing.toml")); err != nil || cfg == nil {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join(dir, "kilnd.toml")
	if err := os.WriteFile(path, []byte("root = 7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error does not name the file: %v", err)
	}
}

func TestGCPolicies(t *testing.T) {
	const gb, tb = int64(1e9), int64(1e12)
	cheap := config.Policy{
		Filters:      []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"},
		KeepDuration: 48 * time.Hour, MaxUsed: 512e6,
	}
	expand := func(reserved, maxUsed, minFree int64) []config.Policy {
		p := config.Policy{Reserved: reserved, MaxUsed: maxUsed, MinFree: minFree}
		old, all := p, p
		old.KeepDuration, all.All = 60*24*time.Hour, true
		return []config.Policy{cheap, old, p, all}
	}
	off := false
	for name, tc := range map[string]struct {
		space config.Space
		disk  int64
		want  []config.Policy
	}{
		"large disk":    {config.Space{}, 2 * tb, expand(10*gb, 100*gb, 373*gb)},
		"small disk":    {config.Space{}, 50 << 30, expand(6*gb, 41*gb, 11*gb)},
		"unknown disk":  {config.Space{}, 0, expand(2*gb, 2*gb, 2*gb)},
		"one limit":     {config.Space{MaxUsed: config.DiskSpace{Bytes: 7}}, 2 * tb, expand(0, 7, 0)},
		"old name":      {config.Space{Keep: config.DiskSpace{Bytes: 7}}, 2 * tb, expand(7, 0, 0)},
		"collected off": {config.Space{GC: &off}, 2 * tb, nil},
	} {
		if diff := cmp.Diff(tc.want, tc.space.GCPolicies(tc.disk)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// FuzzParse checks that no text makes the parser panic and that what it accepts yields policies.
func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add("wrong = 1")
	f.Add("[worker.oci]\nreservedSpace = '100%'\nmaxUsedSpace = 9223372036854775807")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, _, err := config.Parse([]byte(text))
		if err == nil {
			cfg.Workers.OCI.GCPolicies(1 << 62)
			cfg.Workers.Containerd.GCPolicies(0)
		}
	})
}
