package imagestore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
)

// newSquasher is an engine's exporter over a host.
func newSquasher(t *testing.T, h *exporttest.Host) *imagestore.Squasher {
	t.Helper()
	q, _ := squasherTelling(t, h)
	return q
}

// squasherTelling is a newSquasher and the hub that it tells.
func squasherTelling(t *testing.T, h *exporttest.Host) (*imagestore.Squasher, *event.Hub) {
	t.Helper()
	hub := event.NewHub(nil)
	comparer, ok := h.Applier.(diff.Comparer)
	if !ok {
		t.Fatal("the host's applier makes no layers")
	}
	store := imagestore.New(imagestore.Config{
		Namespace: exporttest.Namespace, Content: h.Content, Images: h.Images, Leases: h.Leases, Snapshotter: h.Snapshotter,
		SnapshotterName: exporttest.SnapshotterName, Applier: h.Applier, Comparer: comparer, Events: hub,
	})
	return imagestore.NewSquasher(store, image.NewEngine(image.Config{
		Namespace: exporttest.Namespace, Content: h.Content, Leases: h.Leases, Images: h.Images,
		Snapshotter: h.Snapshotter, SnapshotterName: exporttest.SnapshotterName, Applier: h.Applier, UpperDir: h.Backend.UpperDir,
	})), hub
}

// exported exports src and returns the manifest and the configuration.
func exported(t *testing.T, h *exporttest.Host, src *export.Source, attrs map[string]string) (ocispecs.Manifest, ocispecs.Image) {
	t.Helper()
	in, err := newSquasher(t, h).Resolve(t.Context(), attrs)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := in.Export(t.Context(), src, export.Target{Env: &exporttest.Env{}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Release != nil {
		resp.Release(t.Context())
	}
	if got := resp.Values[export.ValueDigest]; got != resp.Descriptor.Digest.String() {
		t.Errorf("clients are told %s, it is %s", got, resp.Descriptor.Digest)
	}
	h.Collect()
	var m ocispecs.Manifest
	var config ocispecs.Image
	if err := errors.Join(json.Unmarshal(h.Read(*resp.Descriptor), &m), json.Unmarshal(h.Read(m.Config), &config)); err != nil {
		t.Fatal(err)
	}
	if resp.Values[export.ValueConfigDigest] != m.Config.Digest.String() {
		t.Errorf("the values are %v, the manifest %+v", resp.Values, m)
	}
	return m, config
}

// entries are the names in a layer compressed with gzip.
func entries(t *testing.T, data []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for tr := tar.NewReader(z); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(out)
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSuffix(hdr.Name, "/"))
	}
}

// sourceOf is a result whose first layers are of a base image.
func sourceOf(t *testing.T, h *exporttest.Host) *export.Source {
	t.Helper()
	base := h.Ref(nil, exporttest.Files{"base": "1", "old": "1"})
	all := h.Ref(h.Ref(h.Ref(base, exporttest.Files{"kept": "2", "secret": "2"}), exporttest.Files{"secret": "-"}), exporttest.Files{"old": "-"})
	history := []ocispecs.History{{CreatedBy: "base"}, {CreatedBy: "RUN 1"}, {CreatedBy: "ENV", EmptyLayer: true}, {CreatedBy: "RUN 2"}, {CreatedBy: "RUN 3"}}
	config, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "history": history, "own.key": 1,
		"rootfs": map[string]any{"type": "layers"}, "moby.buildkit.cache.v0": "eyJ9"})
	if err != nil {
		t.Fatal(err)
	}
	return &export.Source{Ref: all, Metadata: map[string][]byte{
		export.MetaEpoch: []byte("0"), export.MetaImageConfig: config,
		export.MetaBaseConfig: []byte(`{"rootfs":{"diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}`),
	}}
}

func TestSquash(t *testing.T) {
	h := exporttest.NewHost(t)
	src := sourceOf(t, h)
	whole, _ := exported(t, h, src, map[string]string{"name": "whole"})
	m, config := exported(t, h, src, map[string]string{"name": "small, r.test/small:1", "squash": "true"})
	if len(whole.Layers) != 4 || len(m.Layers) != 2 || len(config.RootFS.DiffIDs) != 2 || m.Layers[0].Digest != whole.Layers[0].Digest {
		t.Fatalf("layers are %+v, %+v of %+v", m.Layers, config.RootFS, whole.Layers)
	}
	if got := entries(t, h.Read(m.Layers[1])); !slices.Equal(got, []string{".wh.old", "kept"}) {
		t.Errorf("the layer has %q", got)
	}
	var empty []bool
	for _, entry := range config.History {
		empty = append(empty, entry.EmptyLayer)
	}
	if !slices.Equal(empty, []bool{false, true, true, true, true, false}) || !strings.HasPrefix(config.History[5].Comment, "merge sha256:") {
		t.Errorf("history is %+v", config.History)
	}
	if raw := string(h.Read(m.Config)); !strings.Contains(raw, `"own.key":1`) || strings.Contains(raw, "moby.buildkit.cache") {
		t.Errorf("configuration is %s", raw)
	}
	list, err := h.Images.List(h.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, im := range list {
		names = append(names, im.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"docker.io/library/small:latest", "docker.io/library/whole:latest", "r.test/small:1"}) {
		t.Errorf("names are %q", names)
	}
	if left, err := h.Leases.List(h.Context(), `labels."containerd.io/gc.expire"`); err != nil || len(left) > 0 {
		t.Errorf("leases are left: %v, %v", left, err)
	}
}

func TestSquashScratchAndUnnamed(t *testing.T) {
	h := exporttest.NewHost(t)
	src := sourceOf(t, h)
	delete(src.Metadata, export.MetaBaseConfig)
	m, config := exported(t, h, src, map[string]string{"squash": ""})
	if len(m.Layers) != 1 || len(config.RootFS.DiffIDs) != 1 {
		t.Fatalf("layers are %+v", m.Layers)
	}
	if got := entries(t, h.Read(m.Layers[0])); !slices.Equal(got, []string{"base", "kept"}) {
		t.Errorf("the layer has %q", got)
	}
	list, err := h.Images.List(h.Context())
	if err != nil || len(list) != 1 || !imagestore.Dangling(list[0].Name) {
		t.Errorf("images are %v, %v", list, err)
	}
	// Nothing to do: the image is what it was.
	one := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"}), Metadata: map[string][]byte{export.MetaEpoch: []byte("0")}}
	same, _ := exported(t, h, one, map[string]string{"squash": "1", "name": "one"})
	again, _ := exported(t, h, one, map[string]string{"squash": "false", "name": "two"})
	if same.Config.Digest != again.Config.Digest {
		t.Errorf("an image of one layer was changed: %+v, %+v", same, again)
	}
}

// TestSquasherAnnounces exports images, each of which is told once.
func TestSquasherAnnounces(t *testing.T) {
	h := exporttest.NewHost(t)
	q, hub := squasherTelling(t, h)
	_, sub := hub.Subscribe()
	defer sub.Close()
	for _, squash := range []string{"false", "true"} {
		in, err := q.Resolve(t.Context(), map[string]string{"squash": squash})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := in.Export(t.Context(), sourceOf(t, h), export.Target{Env: &exporttest.Env{}})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Release(t.Context())
		if e := <-sub.Events(); e.Type != event.TypeImage || e.Action != "create" || e.ID != resp.Descriptor.Digest.String() {
			t.Errorf("told %+v of %s", e, resp.Descriptor.Digest)
		}
	}
}

func TestSquashRefused(t *testing.T) {
	h := exporttest.NewHost(t)
	for _, attrs := range []map[string]string{{"squash": "maybe"}, {"squash": "1", "push": "true"}, {"squash": "1", "name": "UPPER"}} {
		if _, err := newSquasher(t, h).Resolve(t.Context(), attrs); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", attrs, err)
		}
	}
	in, err := newSquasher(t, h).Resolve(t.Context(), map[string]string{"squash": "1"})
	if err != nil {
		t.Fatal(err)
	}
	src := sourceOf(t, h)
	src.Metadata[export.MetaBaseConfig] = []byte(`{`)
	if _, err := in.Export(t.Context(), src, export.Target{Env: &exporttest.Env{}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a base that is none: %v", err)
	}
}
