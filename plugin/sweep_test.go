package plugin

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"

	"github.com/kilnbuild/kiln/differ"
)

// TestAbortLayers: unfinished layers of an earlier process go, what this one
// writes and what others write stays.
func TestAbortLayers(t *testing.T) {
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	begin := func(ref string) {
		w, err := store.Writer(t.Context(), content.WithRef(ref))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	begin(differ.IngestPrefix + "OLD")
	begin("layer-sha256:aa")
	before := time.Now().Add(time.Second)
	if err := abortLayers(t.Context(), "buildkit", store, before.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if open, err := store.ListStatuses(t.Context()); err != nil || len(open) != 2 {
		t.Errorf("younger than the process: %v, %v", open, err)
	}
	if err := abortLayers(t.Context(), "buildkit", store, before); err != nil {
		t.Fatal(err)
	}
	if open, err := store.ListStatuses(t.Context()); err != nil || len(open) != 1 || open[0].Ref != "layer-sha256:aa" {
		t.Errorf("left: %v, %v", open, err)
	}
}

// TestSecretDir: a directory that a killed process left is not there for ever.
func TestSecretDir(t *testing.T) {
	state := t.TempDir()
	first, err := secretDir(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(first, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := secretDir(state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(second) })
	if _, err := os.Stat(filepath.Join(first, "secret")); !os.IsNotExist(err) {
		t.Errorf("the secret is left: %v", err)
	}
	other, err := secretDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(other) })
	if _, err := os.Stat(second); err != nil {
		t.Errorf("another state's directory went: %v", err)
	}
}
