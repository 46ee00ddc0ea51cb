package command

import (
	"bytes"
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
	text, _, err := installed(t, "--address", `/run/a "b".sock`)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version int
		Proxy   map[string]struct{ Type, Address string } `toml:"proxy_plugins"`
		Plugins map[string]any
	}
	if err := toml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if got.Version != 2 || got.Proxy["kiln"].Type != "snapshot" || got.Proxy["kiln-diff"].Type != "diff" ||
		got.Proxy["kiln"].Address != `/run/a "b".sock` || len(got.Plugins) != 0 {
		t.Errorf("configuration says %+v", got)
	}
	if text, _, _ := installed(t, "--default-differ"); !strings.Contains(text, `default = ["kiln-diff", "walking"]`) {
		t.Errorf("the differ is not the default in:\n%s", text)
	}
}

// TestInstallProxyWrites shows that its own file is replaced and others are not.
func TestInstallProxyWrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "conf.d", "kiln.toml")
	for _, address := range []string{"/run/one.sock", "/run/two.sock"} {
		if _, said, err := installed(t, "--write", "--file", file, "--address", address); err != nil || !strings.Contains(said, file) {
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
