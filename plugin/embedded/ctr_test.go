package embedded_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// buildCtr builds containerd's real ctr once for all test runs of this version.
var buildCtr = sync.OnceValues(func() (string, error) {
	const module = "github.com/containerd/containerd/v2"
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find containerd's version: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	path := filepath.Join(cache, "kiln-test", "ctr-"+strings.TrimSpace(string(version)))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// By version and not through this module, which does not require what ctr alone needs.
	bin, err := os.MkdirTemp("", "kiln-test-ctr-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(bin)
	install := exec.Command("go", "install", module+"/cmd/ctr@"+strings.TrimSpace(string(version)))
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ctr: %w\n%s", err, out)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(bin, "ctr"))
	if err != nil {
		return "", err
	}
	part := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(part, b, 0o755); err != nil {
		return "", err
	}
	return path, os.Rename(part, path)
})

// client is the real ctr against one socket.
type client struct {
	t      testing.TB
	socket string
}

// run returns what ctr prints and fails the test if ctr does.
func (c client) run(args ...string) string {
	c.t.Helper()
	ctr, err := buildCtr()
	if err != nil {
		c.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(c.t.Context(), ctr, append([]string{"-a", c.socket, "-n", "buildkit"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("ctr %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// testImage is a one-layer image for this platform.
type testImage struct {
	blobs map[digest.Digest][]byte
	index ocispec.Descriptor // of the manifest
	layer digest.Digest
}

func newImage(t testing.TB, content string) *testImage {
	t.Helper()
	img := &testImage{blobs: map[digest.Digest][]byte{}}
	var plain, packed bytes.Buffer
	tw := tar.NewWriter(&plain)
	if err := tw.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	tw.Write([]byte(content))
	tw.Close()
	zw := gzip.NewWriter(&packed)
	zw.Write(plain.Bytes())
	zw.Close()
	layer := img.add(ocispec.MediaTypeImageLayerGzip, packed.Bytes())
	img.layer = layer.Digest
	config := img.addJSON(t, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain.Bytes())}},
	})
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}}
	manifest.SchemaVersion = 2
	img.index = img.addJSON(t, ocispec.MediaTypeImageManifest, manifest)
	return img
}

func (i *testImage) add(mediaType string, b []byte) ocispec.Descriptor {
	d := digest.FromBytes(b)
	i.blobs[d] = b
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (i *testImage) addJSON(t testing.TB, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return i.add(mediaType, b)
}

// writeTar writes the image as an OCI layout archive under the given name.
func (i *testImage) writeTar(t testing.TB, name string) string {
	t.Helper()
	desc := i.index
	desc.Annotations = map[string]string{"io.containerd.image.name": name}
	index := ocispec.Index{Manifests: []ocispec.Descriptor{desc}}
	index.SchemaVersion = 2
	indexJSON, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": indexJSON}
	for d, b := range i.blobs {
		files["blobs/sha256/"+d.Encoded()] = b
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for name, b := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
			t.Fatal(err)
		}
		tw.Write(b)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve offers the image as <host>/test:latest on a registry of its own.
func (i *testImage) serve(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.Replace(r.URL.Path, "/manifests/latest", "/manifests/"+i.index.Digest.String(), 1)
		b, ok := i.blobs[digest.Digest(path[strings.LastIndex(path, "/")+1:])]
		switch {
		case path == "/v2/":
		case !ok:
			http.NotFound(w, r)
		default:
			if strings.Contains(path, "/manifests/") {
				w.Header().Set("Content-Type", i.index.MediaType)
				w.Header().Set("Docker-Content-Digest", i.index.Digest.String())
			}
			http.ServeContent(w, r, "", zeroTime, bytes.NewReader(b))
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/test:latest"
}
