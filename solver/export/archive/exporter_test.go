package archive_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/archive"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/ref"
)

// run exports src to the client with attributes "k=v".
func run(t *testing.T, h *exporttest.Host, c *exporttest.Client, f archive.Format, src *export.Source, attrs ...string) (*export.Response, error) {
	t.Helper()
	m := map[string]string{}
	for _, a := range attrs {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	e := archive.New(archive.Config{
		Format: f, Namespace: exporttest.Namespace, Content: h.Content, Leases: h.Leases, Sessions: c.Sessions,
		Now: func() time.Time { return exporttest.Time },
	})
	in, err := e.Resolve(t.Context(), m)
	if err != nil {
		return nil, err
	}
	if want := "exporting to " + string(f) + " image format"; in.Name() != want {
		t.Errorf("name is %q", in.Name())
	}
	return in.Export(t.Context(), src, export.Target{Env: c.Env, ID: 7})
}

// entries reads a tar.
func entries(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// skopeo returns what skopeo says about the image called name in an archive,
// which must be valid.
func skopeo(t *testing.T, transport, name string, data []byte, args ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "skopeo", append([]string{"inspect", transport + ":" + file + name}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return out
}

func linux(arch string) export.Platform {
	return export.Platform{ID: "linux/" + arch, Platform: ocispecs.Platform{OS: "linux", Architecture: arch}}
}

func TestTar(t *testing.T) {
	for _, f := range []archive.Format{archive.OCI, archive.Docker} {
		t.Run(string(f), func(t *testing.T) {
			h := exporttest.NewHost(t)
			c := exporttest.NewClient(t, exporttest.ClientConfig{})
			src := &export.Source{
				Ref:       h.Ref(h.Ref(nil, exporttest.Files{"a": "1"}), exporttest.Files{"b": "2"}),
				Platforms: []export.Platform{linux("amd64")},
				Metadata:  map[string][]byte{export.MetaImageConfig: []byte(`{"os":"linux","architecture":"amd64","config":{"Labels":{"k":"v"}}}`)},
			}
			resp, err := run(t, h, c, f, src, "name=app,r.test/b:2")
			if err != nil {
				t.Fatal(err)
			}
			root := resp.Values[export.ValueDigest]
			if resp.Values[export.ValueName] != "docker.io/library/app:latest,r.test/b:2" || resp.Values[export.ValueConfigDigest] == "" {
				t.Errorf("values are %v", resp.Values)
			}
			md := c.Headers()[0]
			if md.Get("buildkit-attachable-exporter-id")[0] != "7" || md.Get("exporter-md-containerimage.digest")[0] != root {
				t.Errorf("headers are %v", md)
			}
			data := c.Streams()[0]
			checkLayout(t, f, entries(t, data), root)
			var seen struct {
				Digest string
				Layers []string
				Labels map[string]string
			}
			if f == archive.OCI {
				err = json.Unmarshal(skopeo(t, "oci-archive", ":latest", data, "--format", "{{json .}}"), &seen)
			} else {
				err = json.Unmarshal(skopeo(t, "docker-archive", ":r.test/b:2", data), &seen)
			}
			if err != nil || len(seen.Layers) != 2 || seen.Labels["k"] != "v" || f == archive.OCI && seen.Digest != root {
				t.Errorf("skopeo sees %+v, %v", seen, err)
			}
			if !c.Env.Saw("sending tarball") {
				t.Errorf("statuses are %q", c.Env.Completed())
			}
			again, err := run(t, h, c, f, src, "name=app,r.test/b:2")
			if err != nil || !bytes.Equal(c.Streams()[1], data) {
				t.Fatalf("the second archive differs: %v", err)
			}
			if left := h.Collect(); !slices.Contains(left, resp.Descriptor.Digest) {
				t.Error("blobs are gone before somebody could note them")
			}
			resp.Release(t.Context())
			again.Release(t.Context())
			if left := h.Collect(); slices.Contains(left, resp.Descriptor.Digest) {
				t.Error("blobs outlive the export")
			}
		})
	}
}

// checkLayout looks at the files that describe the archive.
func checkLayout(t *testing.T, f archive.Format, files map[string][]byte, root string) {
	t.Helper()
	if string(files["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", files["oci-layout"])
	}
	var idx ocispecs.Index
	if err := json.Unmarshal(files["index.json"], &idx); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range idx.Manifests {
		if m.Digest.String() != root || m.Annotations[ocispecs.AnnotationCreated] != "2024-05-06T07:08:09Z" {
			t.Errorf("index has %+v", m)
		}
		names = append(names, m.Annotations["io.containerd.image.name"]+" "+m.Annotations[ocispecs.AnnotationRefName])
	}
	if want := []string{"docker.io/library/app:latest latest", "r.test/b:2 2"}; !slices.Equal(names, want) {
		t.Errorf("names are %q", names)
	}
	if _, ok := files["manifest.json"]; ok != (f == archive.Docker) {
		t.Errorf("manifest.json: %v", ok)
	}
}

func TestSeveralPlatforms(t *testing.T) {
	h := exporttest.NewHost(t)
	c := exporttest.NewClient(t, exporttest.ClientConfig{})
	src := &export.Source{
		Refs: map[string]*ref.Ref{
			"linux/amd64": h.Ref(nil, exporttest.Files{"a": "1"}), "linux/arm64": h.Ref(nil, exporttest.Files{"a": "2"}),
		},
		Platforms: []export.Platform{linux("amd64"), linux("arm64")},
	}
	if _, err := run(t, h, c, archive.Docker, src); err == nil || !strings.HasPrefix(err.Error(), "docker exporter does not currently support exporting manifest lists") {
		t.Errorf("docker: %v", err)
	}
	resp, err := run(t, h, c, archive.OCI, src)
	if err != nil {
		t.Fatal(err)
	}
	var idx ocispecs.Index
	raw := skopeo(t, "oci-archive", "", c.Streams()[0], "--raw")
	if err := json.Unmarshal(raw, &idx); err != nil || len(idx.Manifests) != 2 || idx.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("index is %s, %v", raw, err)
	}
	files := entries(t, c.Streams()[0])
	if _, ok := files["blobs/sha256/"+resp.Descriptor.Digest.Encoded()]; !ok || len(files) < 9 {
		t.Errorf("archive has %d entries", len(files))
	}
}

func TestClientStore(t *testing.T) {
	h := exporttest.NewHost(t)
	c := exporttest.NewClient(t, exporttest.ClientConfig{})
	base := h.Ref(nil, exporttest.Files{"a": "1"})
	src := &export.Source{
		Refs:      map[string]*ref.Ref{"linux/amd64": h.Ref(base, exporttest.Files{"b": "1"}), "linux/arm64": base},
		Platforms: []export.Platform{linux("amd64"), linux("arm64")},
	}
	for range 2 { // The second time the client has everything.
		resp, err := run(t, h, c, archive.OCI, src, "tar=false")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = c.Store.Walk(t.Context(), func(i content.Info) error { n++; return nil })
		if err != nil || n != 7 {
			t.Errorf("client has %d blobs, %v", n, err)
		}
		if got, err := content.ReadBlob(t.Context(), c.Store, *resp.Descriptor); err != nil || !bytes.Equal(got, h.Read(*resp.Descriptor)) {
			t.Errorf("index at the client is %s, %v", got, err)
		}
	}
	if stores := c.Stores(); len(stores) == 0 || slices.ContainsFunc(stores, func(s string) bool { return s != "export" }) {
		t.Errorf("stores are %q", stores)
	}
}

func TestAnswers(t *testing.T) {
	h := exporttest.NewHost(t)
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": strings.Repeat("x", 1<<20)}), Platforms: []export.Platform{linux("amd64")}}
	has := exporttest.NewClient(t, exporttest.ClientConfig{Reject: status.Error(codes.AlreadyExists, "target already exists")})
	if _, err := run(t, h, has, archive.OCI, src); err != nil {
		t.Errorf("a client that has it: %v", err)
	}
	full := exporttest.NewClient(t, exporttest.ClientConfig{Reject: status.Error(codes.ResourceExhausted, "disk full")})
	if _, err := run(t, h, full, archive.OCI, src); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a client that cannot take it: %v", err)
	}
	for attrs, want := range map[string]string{"tar=x": "non-bool value specified for tar", "name=UPPER": "failed to parse UPPER"} {
		if _, err := run(t, h, has, archive.OCI, src, attrs); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", attrs, err)
		}
	}
}
