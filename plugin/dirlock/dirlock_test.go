package dirlock_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/plugin/dirlock"
)

// TestTake shows that one owner keeps others out until it lets go, and that a
// file that was left behind keeps nobody out.
func TestTake(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kilnd.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := dirlock.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dirlock.Take(dir); !errdefs.IsUnavailable(err) {
		t.Errorf("second owner: %v, want Unavailable", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := dirlock.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
