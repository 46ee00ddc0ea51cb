package image_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
	"github.com/kilnbuild/kiln/solver/ref"
)

// config returns a complete configuration on h.
func config(h *exporttest.Host) image.Config {
	return image.Config{
		Namespace: exporttest.Namespace, Content: h.Content, Leases: h.Leases, Images: h.Images,
		Snapshotter: h.Snapshotter, SnapshotterName: exporttest.SnapshotterName, Applier: h.Applier,
		UpperDir: h.Backend.UpperDir,
	}
}

// run exports src with attributes "k=v".
func run(t *testing.T, cfg image.Config, src *export.Source, env *exporttest.Env, attrs ...string) (*export.Response, error) {
	t.Helper()
	m := map[string]string{}
	for _, a := range attrs {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	in, err := image.New(cfg).Resolve(t.Context(), m)
	if err != nil {
		return nil, err
	}
	if in.Name() != "exporting to image" {
		t.Errorf("name is %q", in.Name())
	}
	resp, err := in.Export(t.Context(), src, export.Target{Env: env})
	if err != nil {
		return resp, err
	}
	defer resp.Release(t.Context())
	if resp.Finalize == nil {
		return resp, nil
	}
	return resp, resp.Finalize(t.Context())
}

// stored returns what a name in the image store leads to.
func stored(t *testing.T, h *exporttest.Host, name string) string {
	t.Helper()
	im, err := h.Images.Get(h.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return im.Target.Digest.String()
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		name  string
		attrs []string
		want  []string // "@" at the end stands for the digest
	}{
		{"list", []string{"name=r.test/a:1,r.test/b:2"}, []string{"r.test/a:1", "r.test/b:2"}},
		{"from metadata", []string{"name=*", "image.name=r.test/meta:1"}, []string{"r.test/meta:1"}},
		{"canonical", []string{"name=r.test/a:1", "name-canonical=true"}, []string{"r.test/a:1", "r.test/a:1@"}},
		{"dangling too", []string{"name=r.test/a:1", "dangling-name-prefix=none"}, []string{"r.test/a:1", "none@"}},
		{"dangling only", []string{"dangling-name-prefix=none", "danging-name-empty-only="}, []string{"none@"}},
		{"not dangling", []string{"name=r.test/a:1", "dangling-name-prefix=none", "danging-name-empty-only=true"}, []string{"r.test/a:1"}},
		{"not stored", []string{"name=r.test/a:1", "store=false"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := exporttest.NewHost(t)
			src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"})}
			env := &exporttest.Env{}
			resp, err := run(t, config(h), src, env, tc.attrs...)
			if err != nil {
				t.Fatal(err)
			}
			dgst := resp.Values[export.ValueDigest]
			var want []string
			for _, w := range tc.want {
				if strings.HasSuffix(w, "@") {
					w += dgst
				}
				want = append(want, w)
				if got := stored(t, h, w); got != dgst {
					t.Errorf("%s is %s, want %s", w, got, dgst)
				}
			}
			list, err := h.Images.List(h.Context())
			if err != nil || len(list) != len(want) {
				t.Errorf("image store has %+v, %v", list, err)
			}
			for _, w := range want {
				if !env.Saw("naming to "+w) && tc.name != "canonical" {
					t.Errorf("no status for %s in %q", w, env.Completed())
				}
			}
			// Everything of a named image stays, nothing of another.
			if left := h.Collect(); slices.Contains(left, resp.Descriptor.Digest) != (len(want) > 0) {
				t.Errorf("left is %s", left)
			}
		})
	}
}

func TestResponseAndEpoch(t *testing.T) {
	h := exporttest.NewHost(t)
	cfg := config(h)
	durable := 0
	cfg.Durable = func(context.Context) error { durable++; return nil }
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"})}
	resp, err := run(t, cfg, src, &exporttest.Env{}, "name=r.test/a:1", "source-date-epoch=1700000000")
	if err != nil {
		t.Fatal(err)
	}
	data, err := base64.StdEncoding.DecodeString(resp.Values[export.ValueDescriptor])
	if err != nil {
		t.Fatal(err)
	}
	var desc ocispecs.Descriptor
	if err := json.Unmarshal(data, &desc); err != nil || desc.Digest.String() != resp.Values[export.ValueDigest] || desc.Platform == nil {
		t.Errorf("descriptor is %s, %v", data, err)
	}
	if resp.Values[export.ValueName] != "r.test/a:1" || resp.Values[export.ValueConfigDigest] == "" || durable != 1 {
		t.Errorf("values are %v, durable %d", resp.Values, durable)
	}
	im, err := h.Images.Get(h.Context(), "r.test/a:1")
	if err != nil || !im.CreatedAt.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("image is %+v, %v", im, err)
	}
	again, err := run(t, cfg, src, &exporttest.Env{}, "name=r.test/a:1", "source-date-epoch=1700000000")
	if err != nil || again.Descriptor.Digest != resp.Descriptor.Digest {
		t.Errorf("the second time it is %v, %v", again, err)
	}
}

func TestUnpack(t *testing.T) {
	for _, linked := range []bool{true, false} {
		name := map[bool]string{true: "links", false: "applies"}[linked]
		t.Run(name, func(t *testing.T) {
			h := exporttest.NewHost(t)
			cfg := config(h)
			if !linked {
				cfg.UpperDir = nil
			}
			base := h.Ref(nil, exporttest.Files{"etc/a": "1", "etc/gone": "1", "new/x": "1", "link": "->etc/a"})
			top := h.Ref(base, exporttest.Files{"etc/b": "2", "etc/c": "=etc/b", "etc/gone": "-", "new": "-", "new/y": "2"})
			native := platforms.DefaultSpec()
			src := &export.Source{
				Refs: map[string]*ref.Ref{"other": base, "native": top},
				Platforms: []export.Platform{
					{ID: "other", Platform: ocispecs.Platform{OS: "linux", Architecture: "s390x"}},
					{ID: "native", Platform: native},
				},
			}
			env := &exporttest.Env{}
			// What is applied has Docker's media types, too.
			resp, err := run(t, cfg, src, env, "name=r.test/a:1,r.test/b:1", "unpack=true", fmt.Sprintf("oci-mediatypes=%v", linked))
			if err != nil {
				t.Fatal(err)
			}
			if !env.Saw("unpacking to r.test/a:1") || !env.Saw("unpacking to r.test/b:1") {
				t.Errorf("statuses are %q", env.Completed())
			}
			m, img := nativeImage(t, h, *resp.Descriptor)
			chain := identity.ChainID(img.RootFS.DiffIDs).String()
			info, err := h.Content.Info(h.Context(), m.Config.Digest)
			if err != nil || info.Labels["containerd.io/gc.ref.snapshot.kiln"] != chain {
				t.Errorf("labels of the configuration are %v, %v", info.Labels, err)
			}
			h.Collect()
			checkUnpacked(t, h, chain, top, linked)
			checkAdopted(t, h, m, img, top)
		})
	}
}

// nativeImage returns the manifest and the configuration for this machine.
func nativeImage(t *testing.T, h *exporttest.Host, root ocispecs.Descriptor) (m ocispecs.Manifest, img ocispecs.Image) {
	t.Helper()
	var idx ocispecs.Index
	if err := json.Unmarshal(h.Read(root), &idx); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(h.Read(idx.Manifests[1]), &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(h.Read(m.Config), &img); err != nil {
		t.Fatal(err)
	}
	return m, img
}

// checkUnpacked looks at the files of the snapshot that containers start from.
func checkUnpacked(t *testing.T, h *exporttest.Host, chain string, top *ref.Ref, linked bool) {
	t.Helper()
	mounts, err := h.Snapshotter.View(h.Context(), "look", chain)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.UnmountAll(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	for p, want := range map[string]string{"etc/a": "1", "etc/b": "2", "etc/c": "2", "new/y": "2"} {
		if got, err := os.ReadFile(filepath.Join(dir, p)); string(got) != want {
			t.Errorf("%s is %q, %v", p, got, err)
		}
	}
	for _, p := range []string{"etc/gone", "new/x"} {
		if _, err := os.Lstat(filepath.Join(dir, p)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there again: %v", p, err)
		}
	}
	if l, err := os.Readlink(filepath.Join(dir, "link")); l != "etc/a" {
		t.Errorf("link is %q, %v", l, err)
	}
	fi, err := os.Stat(filepath.Join(dir, "etc"))
	if err != nil || !fi.ModTime().Equal(exporttest.Time) {
		t.Errorf("directory is %v, %v", fi, err)
	}
	inode := func(key string) uint64 {
		upper, err := h.Backend.UpperDir(h.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(filepath.Join(upper, "etc/b"))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Sys().(*syscall.Stat_t).Ino
	}
	if same := inode(chain) == inode(top.Info().Snapshot); same != linked {
		t.Errorf("the file is the same: %v, want %v", same, linked)
	}
}

// checkAdopted takes the snapshot for that of a pulled image, as the next build
// FROM it does: its content must be what it was.
func checkAdopted(t *testing.T, h *exporttest.Host, m ocispecs.Manifest, img ocispecs.Image, top *ref.Ref) {
	t.Helper()
	var layers []ref.Layer
	for i, d := range m.Layers {
		layers = append(layers, ref.Layer{Descriptor: d, DiffID: img.RootFS.DiffIDs[i]})
	}
	adopted, err := h.Refs.FromLayers(t.Context(), layers, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer adopted.Release(t.Context())
	want, err := top.ContentDigest(t.Context(), "/", ref.ContentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := adopted.ContentDigest(t.Context(), "/", ref.ContentOptions{})
	if err != nil || got != want {
		t.Errorf("content is %s, %v, want %s", got, err, want)
	}
}

func TestRefusedAttributes(t *testing.T) {
	h := exporttest.NewHost(t)
	for _, tc := range []struct{ attrs, want string }{
		{"push=perhaps", "non-bool value specified for push"},
		{"unpack=true rewrite-timestamp=true", `exporter option "rewrite-timestamp" conflicts with "unpack"`},
		{"push=true", `exporter option "push" needs access to registries`},
	} {
		if _, err := run(t, config(h), nil, nil, strings.Fields(tc.attrs)...); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.attrs, err)
		}
	}
}
