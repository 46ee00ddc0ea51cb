package image_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// pushing returns a configuration with access to registries.
func pushing(t *testing.T, h *exporttest.Host) image.Config {
	t.Helper()
	c, err := registry.New(registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := config(h)
	cfg.Registry = c
	return cfg
}

// digestAt asks the registry what a reference names; "" for nothing.
func digestAt(t *testing.T, s *fixtures.Server, name, object string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, fmt.Sprintf("%s/v2/%s/manifests/%s", s.URL, name, object), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", strings.Join([]string{ocispecs.MediaTypeImageIndex, ocispecs.MediaTypeImageManifest}, ", "))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

func TestPush(t *testing.T) {
	s := fixtures.Registry(t)
	h := exporttest.NewHost(t)
	cfg := pushing(t, h)
	shared := h.Ref(nil, exporttest.Files{"shared": "1"})
	src := &export.Source{
		Refs: map[string]*ref.Ref{"linux/amd64": h.Ref(shared, exporttest.Files{"a": "1"}), "linux/arm64": h.Ref(shared, exporttest.Files{"a": "2"})},
		Platforms: []export.Platform{
			{ID: "linux/amd64", Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}},
			{ID: "linux/arm64", Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64"}},
		},
	}
	env := &exporttest.Env{}
	tag := s.Addr + "/app:1"
	resp, err := run(t, cfg, src, env, "name="+tag+","+s.Addr+"/copy:2", "push=true", "store=false")
	if err != nil {
		t.Fatal(err)
	}
	root := resp.Descriptor.Digest.String()
	if got := []string{digestAt(t, s, "app", "1"), digestAt(t, s, "copy", "2")}; got[0] != root || got[1] != root {
		t.Errorf("registry has %s, want %s", got, root)
	}
	done := env.Completed()
	layers, manifest := slices.Index(done, "pushing layers"), slices.Index(done, "pushing manifest for "+tag+"@"+root)
	if layers < 0 || manifest < layers {
		t.Errorf("statuses are %q", done)
	}
	var idx ocispecs.Index
	if err := json.Unmarshal(h.Read(*resp.Descriptor), &idx); err != nil {
		t.Fatal(err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(h.Read(idx.Manifests[0]), &m); err != nil {
		t.Fatal(err)
	}
	info, err := h.Content.Info(h.Context(), m.Layers[0].Digest)
	host, _, _ := strings.Cut(s.Addr, ":")
	if err != nil || info.Labels["containerd.io/distribution.source."+host] != "app,copy" {
		t.Errorf("labels of the layer are %v, %v", info.Labels, err)
	}
	if left := h.Collect(); slices.Contains(left, resp.Descriptor.Digest) {
		t.Error("blobs outlive the push")
	}
}

func TestPushByDigest(t *testing.T) {
	s := fixtures.Registry(t)
	h := exporttest.NewHost(t)
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"})}
	resp, err := run(t, pushing(t, h), src, &exporttest.Env{}, "name="+s.Addr+"/app", "push=true", "push-by-digest=true")
	if err != nil {
		t.Fatal(err)
	}
	root := resp.Descriptor.Digest.String()
	if got := digestAt(t, s, "app", root); got != root {
		t.Errorf("registry has %q, want %s", got, root)
	}
	if got := digestAt(t, s, "app", "latest"); got != "" {
		t.Errorf("the tag latest is %s", got)
	}
	_, err = run(t, pushing(t, h), src, &exporttest.Env{}, "name="+s.Addr+"/app:1", "push=true", "push-by-digest=true")
	if want := fmt.Sprintf("failed to push %s/app:1: can't push tagged ref %[1]s/app:1 by digest", s.Addr); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("pushing a tag by digest: %v", err)
	}
}

func TestPushFails(t *testing.T) {
	s := fixtures.Registry(t)
	addr := s.Addr
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	h := exporttest.NewHost(t)
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"})}
	resp, err := run(t, pushing(t, h), src, &exporttest.Env{}, "name="+addr+"/app:1", "push=true", "store=false")
	if err == nil || !strings.HasPrefix(err.Error(), "failed to push "+addr+"/app:1: ") {
		t.Fatalf("push to nobody: %v", err)
	}
	if left := h.Collect(); slices.Contains(left, resp.Descriptor.Digest) {
		t.Error("blobs outlive a push that failed")
	}
}
