package stateformat_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/plugin/stateformat"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := stateformat.Check(dir); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, stateformat.Name)
	for _, tt := range []struct{ text, want string }{
		{"1\n", ""}, {"1", ""}, {"", ""},
		{"2\n", "newer version (format 2"}, {"0", "does not say"}, {"x", "does not say"}, {strings.Repeat("9", 1000), "does not say"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := stateformat.Check(dir)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%q: %v", tt.text, err)
			}
			continue
		}
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.10q: %v, want %s", tt.text, err, tt.want)
		}
		if left, _ := os.ReadFile(path); string(left) != tt.text {
			t.Errorf("%.10q was overwritten", tt.text)
		}
	}
	if err := stateformat.Check(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is not there has a format")
	}
}
