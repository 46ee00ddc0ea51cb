package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// settings parses a command line over a configuration file.
func settings(t *testing.T, file string, args ...string) (*Settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kilnd.toml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("kilnd", pflag.ContinueOnError)
	flags := &Flags{}
	flags.register(fs, "kilnd")
	if err := fs.Parse(append([]string{"--config", path}, args...)); err != nil {
		t.Fatal(err)
	}
	return flags.Settings(t.Context(), fs, DefaultPaths("kilnd"))
}

func TestDefaults(t *testing.T) {
	s, err := settings(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.Root != "/var/lib/kiln" || s.State != "/run/kiln" || s.Namespace != "buildkit" || s.Containerd != "" ||
		len(s.GRPC.Address) != 1 || s.GRPC.Address[0] != "unix:///run/kiln/kilnd.sock" || !s.ServeContainerd {
		t.Errorf("%+v", s)
	}
	if p := DefaultPaths("buildkitd"); p.Address != "unix:///run/buildkit/buildkitd.sock" ||
		p.Config != "/etc/buildkit/buildkitd.toml" || p.Root != "/var/lib/buildkit" {
		t.Errorf("as buildkitd: %+v", p)
	}
}

// TestEnvironment: variables count more than the file, and less than flags.
func TestEnvironment(t *testing.T) {
	t.Setenv("BUILDKITD_LOG_LEVEL", "error")
	t.Setenv("BUILDKITD_DEBUGADDR", "127.0.0.1:1")
	file := "[log]\nlevel = 'warn'\n[grpc]\ndebugAddress = '127.0.0.1:2'\n"
	for _, tt := range []struct {
		args         []string
		level, debug string
	}{
		{nil, "error", "127.0.0.1:1"},
		{[]string{"--log-level=info", "--debugaddr=127.0.0.1:3"}, "info", "127.0.0.1:3"},
	} {
		s, err := settings(t, file, tt.args...)
		if err != nil {
			t.Fatal(err)
		}
		if s.Log.Level != tt.level || s.GRPC.DebugAddress != tt.debug {
			t.Errorf("%q: level %s, debug address %s", tt.args, s.Log.Level, s.GRPC.DebugAddress)
		}
	}
}

func TestFlagsOverFile(t *testing.T) {
	file := "root = '/from/file'\ninsecure-entitlements = ['device']\n[log]\nlevel = 'warn'\n" +
		"[grpc]\naddress = ['unix:///from/file.sock']\n[worker.oci]\nmax-parallelism = 3\nbinary = 'crun'\n[worker.oci.labels]\na = 'file'\n"
	s, err := settings(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if s.Root != "/from/file" || s.State != "/from/file/run" || s.Log.Level != "warn" || s.Workers.OCI.MaxParallelism != 3 ||
		s.GRPC.Address[0] != "unix:///from/file.sock" || s.Workers.OCI.Binary != "crun" {
		t.Errorf("file alone: %+v", s.Config)
	}
	s, err = settings(t, file, "--root", "/flag", "--addr", "unix:///a", "--addr", "tcp://b:1", "--oci-max-parallelism=5",
		"--allow-insecure-entitlement", "network.host", "--oci-worker-labels", "b=x,y", "--oci-worker-gc-keepstorage", "1,2,3",
		"--group", "root", "--log-level", "error")
	if err != nil {
		t.Fatal(err)
	}
	oci := s.Workers.OCI
	for what, ok := range map[string]bool{
		"root":         s.Root == "/flag" && s.State == "/flag/run",
		"addresses":    len(s.GRPC.Address) == 2 && s.GRPC.Address[1] == "tcp://b:1",
		"parallelism":  oci.MaxParallelism == 5,
		"entitlements": len(s.Entitlements) == 1 && s.Entitlements[0] == "network.host",
		"labels":       oci.Labels["a"] == "file" && oci.Labels["b"] == "x,y",
		"space":        oci.Reserved.Bytes == 1e6 && oci.MinFree.Bytes == 2e6 && oci.MaxUsed.Bytes == 3e6,
		"group":        s.GRPC.GID != nil && *s.GRPC.GID == 0,
		"level":        s.Log.Level == "error",
	} {
		if !ok {
			t.Errorf("%s: %+v", what, s)
		}
	}
}

// TestSidecar: the section of the host counts, whoever asked for it.
func TestSidecar(t *testing.T) {
	file := "[worker.oci]\nmax-parallelism = 3\n[worker.containerd]\nnamespace = 'file'\nsnapshotter = 'native'\n" +
		"max-parallelism = 4\n[worker.containerd.runtime.options]\nBinaryName = 'crun'\n"
	for _, tt := range []struct {
		args                            []string
		address, namespace, snapshotter string
	}{
		{[]string{"--oci-worker=false", "--containerd-worker=true", "--containerd-worker-addr", "/c.sock"}, "/c.sock", "file", "native"},
		{[]string{"--containerd", "unix:///d.sock", "--namespace", "flag"}, "unix:///d.sock", "flag", "native"},
		{[]string{"--containerd", "/d.sock", "--containerd-worker-namespace", "other", "--containerd-worker-snapshotter", "kiln"}, "/d.sock", "other", "kiln"},
	} {
		s, err := settings(t, file, tt.args...)
		if err != nil {
			t.Fatal(err)
		}
		steps := s.Workers.OCI
		if s.Containerd != tt.address || s.Namespace != tt.namespace || steps.Snapshotter != tt.snapshotter ||
			steps.MaxParallelism != 4 || steps.Binary != "crun" || s.executor() != "containerd" {
			t.Errorf("%q: containerd %s, namespace %s, steps %+v", tt.args, s.Containerd, s.Namespace, steps)
		}
	}
}

func TestSettingsRefusals(t *testing.T) {
	for want, args := range map[string][]string{
		"invalid entitlement : everything": {"--allow-insecure-entitlement", "everything"},
		"write auto, true or false":        {"--oci-worker=maybe"},
		"write key=value":                  {"--oci-worker-labels", "x"},
		"not a number of MB":               {"--containerd-worker-gc-keepstorage", "1,many"},
		"rootless mode only":               {"--oci-worker-no-process-sandbox"},
		"unsupported log type":             {"--log-format", "xml"},
		"log level":                        {"--log-level", "loud"},
		"find group":                       {"--group", "no-such-group-here"},
	} {
		if _, err := settings(t, "", args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}
