package layout

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func desc(text string) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString(text), Size: int64(len(text))}
}

func TestIndex(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir, "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
	for _, err := range []error{
		Tag(dir, desc("a"), "latest"), Name(dir, desc("b"), "docker.io/library/x:1"),
		Tag(dir, desc("c"), "latest"), Name(dir, desc("d"), "docker.io/library/y:1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"latest": "c", "docker.io/library/x:1": "b", "docker.io/library/y:1": "d"} {
		if got, err := Find(dir, name); err != nil || got.Digest != desc(want).Digest {
			t.Errorf("Find(%s) = %v, %v", name, got.Digest, err)
		}
	}
	if idx, _ := read(dir); len(idx.Manifests) != 3 || idx.SchemaVersion != 2 {
		t.Errorf("index = %+v", idx)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "oci-layout")); string(data) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout = %s", data)
	}
}

func TestBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Tag(dir, desc("a"), "x"); err == nil {
		t.Error("a broken index was replaced")
	}
}

func TestTagOf(t *testing.T) {
	for in, want := range map[string]string{"a/b:1": "1", "h:5000/b": "h:5000/b", "h:5000/b:2": "2", "b@sha256:x": "@sha256:x", "b": "b"} {
		if got := tagOf(in); got != want {
			t.Errorf("tagOf(%s) = %s, want %s", in, got, want)
		}
	}
}

// Names put at the same time are all there in the end.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for _, tag := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			if err := Tag(dir, desc(tag), tag); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if idx, _ := read(dir); len(idx.Manifests) != 6 {
		t.Errorf("%d entries, want 6", len(idx.Manifests))
	}
}
