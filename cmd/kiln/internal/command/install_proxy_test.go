package command

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// installed runs install-proxy and returns what it printed, and said.
func installed(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	streams := IO{In: strings.NewReader(""), Out: &out, Err: &errs, LookupEnv: func(string) (string, bool) { return "", false }}
	err = Run(t.Context(), "kiln", "", streams, append([]string{"install-proxy"}, args...))
	return out.String(), errs.String(), err
}

// TestInstallProxyPrints shows what a containerd is to read.
func TestInstallProxyPrints(t *testing.T) {
	text, _, err := installed(t, "--address", `/run/a "b".sock`, "--root", "/srv/kiln")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version int
		Proxy   map[string]struct {
			Type, Address string
			Exports       map[string]string
		} `toml:"proxy_plugins"`
		Plugins map[string]struct {
			Unpack []struct{ Platform, Snapshotter, Differ string } `toml:"unpack_config"`
		}
	}
	if err := toml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if got.Version != 2 || len(got.Proxy) != 1 || got.Proxy["kiln"].Type != "snapshot" ||
		got.Proxy["kiln"].Address != `/run/a "b".sock` || got.Proxy["kiln"].Exports["root"] != "/srv/kiln/snapshots" || len(got.Plugins) != 1 {
		t.Errorf("configuration says %+v", got)
	}
	unpack := got.Plugins["io.containerd.transfer.v1.local"].Unpack
	if len(unpack) != 2 || unpack[1].Snapshotter != "kiln" || unpack[1].Differ != "walking" || unpack[1].Platform == "" {
		t.Errorf("pulls unpack for %+v", unpack)
	}
	text, _, err = installed(t, "--default-differ")
	if err == nil {
		err = toml.Unmarshal([]byte(text), &got)
	}
	if err != nil || got.Proxy["kiln-diff"].Type != "diff" || !strings.Contains(text, `default = ["kiln-diff", "walking"]`) {
		t.Errorf("the differ is not the default (%v) in:\n%s", err, text)
	}
}

// TestInstallProxyWrites shows that its own file is replaced and others are not.
func TestInstallProxyWrites(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "conf.d", "kiln.toml")
	for _, address := range []string{"/run/one.sock", "/run/two.sock"} {
		if _, said, err := installed(t, "--write", "--file", file, "--config", filepath.Join(dir, "config.toml"), "--address", address); err != nil || !strings.Contains(said, file) {
			t.Fatalf("said %q (%v)", said, err)
		}
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), address) {
			t.Errorf("file is %q (%v)", text, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("directory has %v (%v)", left, err)
	}
	if err := os.WriteFile(file, []byte("version = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := installed(t, "--write", "--file", file); err == nil || !strings.Contains(err.Error(), "--file") {
		t.Errorf("error is %v", err)
	}
	if _, _, err := installed(t, "--address", "relative.sock"); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("error is %v", err)
	}
}

// TestInstallProxySaysWhatIsMissing shows what is said to an operator whose
// containerd would not read the file.
func TestInstallProxySaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	file, pattern := filepath.Join(dir, "conf.d", "kiln.toml"), filepath.Join(dir, "conf.d", "*.toml")
	line := fmt.Sprintf("imports = [%q]", pattern)
	for name, test := range map[string]struct{ config, want string }{
		"no configuration": {"", "Write these two lines to "},
		"no imports":       {"version = 2\n", "does not import yet"},
		"other imports":    {"imports = [\"/elsewhere/*.toml\"]\n", "does not import yet"},
		"pattern":          {line, "restart containerd"},
		"relative":         {"imports = [\"conf.d/kiln.toml\"]\n", "restart containerd"},
	} {
		t.Run(name, func(t *testing.T) {
			config := filepath.Join(dir, "config.toml")
			if err := os.RemoveAll(config); err != nil {
				t.Fatal(err)
			}
			if test.config != "" {
				if err := os.WriteFile(config, []byte(test.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, said, err := installed(t, "--write", "--file", file, "--config", config)
			if err != nil {
				t.Fatal(err)
			}
			asks := test.want != "restart containerd"
			if !strings.Contains(said, test.want) || strings.Contains(said, line) != asks {
				t.Errorf("said %q, want %q", said, test.want)
			}
		})
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte("imports = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := installed(t, "--write", "--file", file, "--config", filepath.Join(dir, "config.toml")); err == nil {
		t.Error("a configuration that cannot be read is not told of")
	}
}
