package manifest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/ref"
)

// assemble makes the image of src and gives the lease up.
func assemble(t *testing.T, h *exporttest.Host, src *export.Source, attrs map[string]string, env *exporttest.Env) (*manifest.Image, error) {
	t.Helper()
	o, _, err := manifest.ParseOptions(attrs, true)
	if err != nil {
		return nil, err
	}
	if o, err = o.Finish(src); err != nil {
		return nil, err
	}
	ctx, release, err := manifest.Hold(t.Context(), h.Leases, exporttest.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	a := manifest.Assembler{Content: h.Content}
	return a.Assemble(ctx, src, o, env)
}

func platform(id string) export.Platform {
	os, arch, _ := strings.Cut(id, "/")
	return export.Platform{ID: id, Platform: ocispecs.Platform{OS: os, Architecture: arch}}
}

func TestSinglePlatform(t *testing.T) {
	h := exporttest.NewHost(t)
	top := h.Ref(h.Ref(nil, exporttest.Files{"a": "1"}), exporttest.Files{"b": "2"})
	src := &export.Source{Ref: top, Metadata: map[string][]byte{
		export.MetaImageConfig: []byte(`{"os":"linux","architecture":"amd64","config":{"Cmd":["sh"]}}`),
	}}
	env := &exporttest.Env{}
	im, err := assemble(t, h, src, map[string]string{"annotation.org.example": "x", "annotation-manifest-descriptor.y": "z"}, env)
	if err != nil {
		t.Fatal(err)
	}
	raw := h.Read(im.Descriptor)
	var m ocispecs.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(raw, []byte("{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"application/vnd.oci.image.manifest.v1+json\",\n  \"config\": {")) {
		t.Errorf("manifest begins with %.120s", raw)
	}
	if len(m.Layers) != 2 || m.Annotations["org.example"] != "x" || im.Descriptor.Annotations["y"] != "z" {
		t.Errorf("manifest is %s", raw)
	}
	for _, l := range m.Layers {
		if l.MediaType != ocispecs.MediaTypeImageLayerGzip || l.Annotations != nil {
			t.Errorf("layer is %+v", l)
		}
	}
	var config ocispecs.Image
	if err := json.Unmarshal(h.Read(m.Config), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.RootFS.DiffIDs) != 2 || len(config.History) != 2 || config.History[1].CreatedBy != "RUN test" ||
		!config.Created.Equal(exporttest.Time) || config.Config.Cmd[0] != "sh" {
		t.Errorf("config is %+v", config)
	}
	info, err := h.Content.Info(h.Context(), im.Descriptor.Digest)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{m.Config.Digest.String(), m.Layers[0].Digest.String(), m.Layers[1].Digest.String()}
	for i, d := range want {
		if got := info.Labels["containerd.io/gc.ref.content."+string(rune('0'+i))]; got != d {
			t.Errorf("label %d is %s, want %s", i, got, d)
		}
	}
	for _, id := range []string{"exporting layers", "exporting config " + m.Config.Digest.String(), "exporting manifest " + im.Descriptor.Digest.String()} {
		if !slices.Contains(env.Completed(), id) {
			t.Errorf("no status %q in %q", id, env.Completed())
		}
	}
	again, err := assemble(t, h, src, map[string]string{"annotation.org.example": "x"}, env)
	if err != nil || again.Descriptor.Digest != im.Descriptor.Digest {
		t.Errorf("the second time it is %v, %v", again, err)
	}
	if left := h.Collect(); slices.Contains(left, im.Descriptor.Digest) || slices.Contains(left, m.Config.Digest) {
		t.Error("blobs outlive their lease")
	}
}

func TestEqualOnOtherHosts(t *testing.T) {
	var digests []string
	for range 2 {
		h := exporttest.NewHost(t)
		r := h.Ref(nil, exporttest.Files{"bin/sh": "x", "link": "->bin/sh"})
		src := &export.Source{Ref: r, Platforms: []export.Platform{platform("linux/amd64")}}
		im, err := assemble(t, h, src, nil, &exporttest.Env{})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, im.Descriptor.Digest.String())
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %s", digests)
	}
}

func TestPlatforms(t *testing.T) {
	h := exporttest.NewHost(t)
	src := &export.Source{
		Refs: map[string]*ref.Ref{
			"linux/amd64": h.Ref(nil, exporttest.Files{"a": "amd"}),
			"linux/arm64": h.Ref(nil, exporttest.Files{"a": "arm"}),
			"linux/s390x": nil,
		},
		Platforms: []export.Platform{platform("linux/arm64"), platform("linux/amd64"), platform("linux/s390x")},
		Metadata: map[string][]byte{
			"containerimage.config/linux/arm64":     []byte(`{"os":"linux","architecture":"arm64","x":1}`),
			"annotation-index.i":                    []byte("1"),
			"annotation-index-descriptor.d":         []byte("2"),
			"annotation[linux/arm64].m":             []byte("3"),
			"annotation-manifest-descriptor.shared": []byte("4"),
		},
	}
	for _, oci := range []bool{true, false} {
		attrs := map[string]string{}
		if !oci {
			attrs["oci-mediatypes"] = "false"
			src = src.With(nil)
			for _, k := range []string{"annotation-index.i", "annotation-index-descriptor.d", "annotation-manifest-descriptor.shared"} {
				delete(src.Metadata, k)
			}
		}
		env := &exporttest.Env{}
		im, err := assemble(t, h, src, attrs, env)
		if err != nil {
			t.Fatal(err)
		}
		var idx ocispecs.Index
		if err := json.Unmarshal(h.Read(im.Descriptor), &idx); err != nil {
			t.Fatal(err)
		}
		wantType := ocispecs.MediaTypeImageIndex
		if !oci {
			wantType = images.MediaTypeDockerSchema2ManifestList
		}
		if idx.MediaType != wantType || im.Descriptor.MediaType != wantType || len(idx.Manifests) != 3 || !env.Saw("exporting manifest list sha256:") {
			t.Fatalf("index is %+v", idx)
		}
		for i, arch := range []string{"arm64", "amd64", "s390x"} {
			d := idx.Manifests[i]
			var m ocispecs.Manifest
			if err := json.Unmarshal(h.Read(d), &m); err != nil {
				t.Fatal(err)
			}
			if d.Platform.Architecture != arch || (m.Annotations["m"] == "3") != (arch == "arm64") {
				t.Errorf("manifest %d is %+v, %+v", i, d, m)
			}
			if oci && d.Annotations["shared"] != "4" {
				t.Errorf("descriptor %d is %+v", i, d)
			}
		}
		if oci && (idx.Annotations["i"] != "1" || im.Descriptor.Annotations["d"] != "2") {
			t.Errorf("index annotations are %v, %v", idx.Annotations, im.Descriptor.Annotations)
		}
		values, err := im.Values()
		if _, ok := values[export.ValueConfigDigest]; ok || err != nil {
			t.Errorf("values are %v, %v", values, err)
		}
	}
}

func TestRewrite(t *testing.T) {
	h := exporttest.NewHost(t)
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"}), Platforms: []export.Platform{platform("linux/amd64")}}
	env := &exporttest.Env{}
	plain, err := assemble(t, h, src, nil, env)
	if err != nil {
		t.Fatal(err)
	}
	rewritten, err := assemble(t, h, src, map[string]string{"source-date-epoch": "1000", "rewrite-timestamp": "true"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Manifests[0].DiffIDs[0] == rewritten.Manifests[0].DiffIDs[0] {
		t.Error("times in the layer are the same")
	}
	if !env.Saw("rewriting layers with source-date-epoch 1000 (1970-01-01 00:16:40 +0000 UTC)") {
		t.Errorf("statuses are %q", env.Completed())
	}
}

func TestCompressions(t *testing.T) {
	h := exporttest.NewHost(t)
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"}), Platforms: []export.Platform{platform("linux/amd64")}}
	for compression, want := range map[string]string{
		"zstd": ocispecs.MediaTypeImageLayerZstd, "uncompressed": ocispecs.MediaTypeImageLayer, "gzip": ocispecs.MediaTypeImageLayerGzip,
	} {
		im, err := assemble(t, h, src, map[string]string{"compression": compression}, &exporttest.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if got := im.Manifests[0].Layers[0].MediaType; got != want {
			t.Errorf("%s: %s", compression, got)
		}
	}
}

func TestRefusedSources(t *testing.T) {
	h := exporttest.NewHost(t)
	att := []export.Attestation{{PredicateType: "x", InlineOnly: true}}
	for want, src := range map[string]*export.Source{
		"unable to export multiple refs, missing platforms mapping": {Refs: map[string]*ref.Ref{"a": nil}},
		"failed to find ref for ID b/x":                             {Refs: map[string]*ref.Ref{"a": nil}, Platforms: []export.Platform{platform("b/x")}},
		"cannot export multiple platforms without multi-platform":   {Platforms: []export.Platform{{ID: "a"}, {ID: "b"}}},
		`invalid platform key ".."`:                                 {Refs: map[string]*ref.Ref{"..": nil}, Platforms: []export.Platform{platform("..")}},
		"invalid empty platform key":                                {Refs: map[string]*ref.Ref{"": nil}, Platforms: []export.Platform{{}}},
		"invalid platform value x":                                  {Refs: map[string]*ref.Ref{"x": nil}, Platforms: []export.Platform{platform("x")}},
		"attestations of ":                                          {Attestations: map[string][]export.Attestation{"": att}},
		"invalid SOURCE_DATE_EPOCH from frontend":                   {Metadata: map[string][]byte{export.MetaEpoch: []byte("x")}},
	} {
		if _, err := assemble(t, h, src, nil, &exporttest.Env{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	_, err := assemble(t, h, &export.Source{Attestations: map[string][]export.Attestation{"": att}}, map[string]string{"attestation-inline": "false"}, &exporttest.Env{})
	if err != nil {
		t.Errorf("attestations that are not wanted: %v", err)
	}
	_, err = assemble(t, h, &export.Source{Attestations: map[string][]export.Attestation{"": att}}, map[string]string{"oci-mediatypes": "false"}, &exporttest.Env{})
	if !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("attestations in Docker's types: %v", err)
	}
}
