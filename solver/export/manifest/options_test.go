package manifest

import (
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/ref"
)

func TestOptions(t *testing.T) {
	o, rest, err := ParseOptions(map[string]string{
		"name": "*", "compression": "zstd", "compression-level": "9", "force-compression": "",
		"source-date-epoch": "7", "annotation.a": "1", "annotation-index.b": "2", "push": "true", "containerimage.config": "{}",
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest) != 2 || rest["push"] != "true" || rest["containerimage.config"] != "{}" {
		t.Errorf("rest is %v", rest)
	}
	if o.Layers.Compression != ref.Zstd || *o.Layers.Level != 9 || !o.Layers.Force || o.Epoch.Time.Unix() != 7 {
		t.Errorf("options are %+v", o)
	}
	o, err = o.Finish(&export.Source{Metadata: map[string][]byte{"image.name": []byte("x:y"), "annotation.a": []byte("3")}})
	if err != nil {
		t.Fatal(err)
	}
	if o.Names != "x:y" || !o.OCI || !o.Artifact || o.Annotations.of(amd64).manifest["a"] != "3" || o.Annotations.index["b"] != "2" {
		t.Errorf("finished options are %+v", o)
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, tc := range []struct {
		attrs string
		want  string
	}{
		{"oci-mediatypes=maybe", "non-bool value specified for oci-mediatypes"},
		{"force-compression=2x", "non-bool value specified for force-compression"},
		{"compression=lzma", "unsupported compression type lzma"},
		{"compression=gzip compression-level=11", "compression-level 11 is out of range 0-9 for gzip"},
		{"compression-level=high", "non-integer value specified for compression-level"},
		{"compression=estargz oci-mediatypes=false", `exporter option "compression=estargz" conflicts with "oci-mediatypes=false"`},
		{"oci-artifact=true oci-mediatypes=false", `exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"`},
		{"annotation-layer.x=1", "unrecognized annotation type layer"},
		{"source-date-epoch=yesterday", "invalid source-date-epoch"},
	} {
		attrs := map[string]string{}
		for _, a := range strings.Fields(tc.attrs) {
			k, v, _ := strings.Cut(a, "=")
			attrs[k] = v
		}
		if _, _, err := ParseOptions(attrs, false); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.attrs, err)
		}
	}
}

func TestAnnotations(t *testing.T) {
	arm64 := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	for _, tc := range []struct {
		key       string
		multi     bool
		docker    bool
		want      string
		platforms []ocispecs.Platform
	}{
		{key: "annotation.a", docker: true},
		{key: "annotation[linux/amd64].a"},
		{key: "annotation-manifest-descriptor[linux/arm64].a", platforms: []ocispecs.Platform{amd64, arm64}, multi: true},
		{key: "annotation-index.a", multi: true},
		{key: "annotation[linux/s390x].a", want: "invalid annotation: no platform linux/s390x found in source"},
		{key: "annotation-index.a", want: "index annotations not supported for single platform export"},
		{key: "annotation-manifest-descriptor.a", docker: true, want: `cannot export annotations with "oci-mediatypes=false"`},
		{key: "annotation-index-descriptor.a", docker: true, multi: true, want: `cannot export annotations with "oci-mediatypes=false"`},
	} {
		var a Annotations
		if ok, err := a.parse(tc.key, "1"); !ok || err != nil {
			t.Fatalf("%s: %v, %v", tc.key, ok, err)
		}
		if tc.platforms == nil {
			tc.platforms = []ocispecs.Platform{amd64}
		}
		err := a.check(tc.platforms, tc.multi, !tc.docker)
		if (tc.want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.key, err)
		}
	}
	var a Annotations
	for _, k := range []string{"annotation.", "annotations.a", "annotation.a b", "annotation[*].a", "image.name"} {
		if ok, err := a.parse(k, "1"); ok || err != nil {
			t.Errorf("%s is taken for an annotation: %v", k, err)
		}
	}
}

func FuzzAnnotationKey(f *testing.F) {
	for _, k := range []string{"annotation.a", "annotation-index[linux/amd64].b.c", "annotation[a/b/c/d/e].x", "annotation-x.y"} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, key string) {
		var a Annotations
		if ok, err := a.parse(key, "v"); ok && err == nil && !strings.HasPrefix(key, "annotation") {
			t.Fatalf("%q is taken for an annotation", key)
		}
	})
}

func TestLayerTypes(t *testing.T) {
	const dockerGzip, ociGzip = images.MediaTypeDockerSchema2LayerGzip, ocispecs.MediaTypeImageLayerGzip
	for _, tc := range []struct {
		in           string
		oci, foreign bool
		want         string
	}{
		{dockerGzip, true, false, ociGzip},
		{ociGzip, false, false, dockerGzip},
		{ocispecs.MediaTypeImageLayer, false, false, images.MediaTypeDockerSchema2Layer},
		{ocispecs.MediaTypeImageLayerZstd, false, false, images.MediaTypeDockerSchema2LayerZstd},
		{images.MediaTypeDockerSchema2LayerForeignGzip, true, false, ociGzip},
		{images.MediaTypeDockerSchema2LayerForeignGzip, true, true, ociForeign + "+gzip"},
		{ociForeign, false, true, images.MediaTypeDockerSchema2LayerForeign},
		{"application/vnd.example", true, false, "application/vnd.example"},
		{"application/vnd.example", false, false, ""},
	} {
		got, err := layerType(tc.in, tc.oci, tc.foreign)
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%s (oci %v, foreign %v): %s, %v", tc.in, tc.oci, tc.foreign, got, err)
		}
	}
	desc := ocispecs.Descriptor{MediaType: ociGzip, Digest: digest.FromString(""), Annotations: map[string]string{
		labels.LabelUncompressed: "x", "buildkit/createdat": "x", "containerd.io/distribution.source.docker.io": "x", "org.example": "kept",
		ref.AnnotationEpoch: "7",
	}}
	got, err := layerDescriptor(desc, true, false)
	if err != nil || len(got.Annotations) != 2 || got.Annotations["org.example"] != "kept" || got.Annotations[ref.AnnotationEpoch] != "7" {
		t.Errorf("OCI layer: %+v, %v", got, err)
	}
	if got, err = layerDescriptor(desc, false, false); err != nil || got.Annotations != nil {
		t.Errorf("Docker layer: %+v, %v", got, err)
	}
	// Its type is that of the first image it came with, its address tells more.
	desc.URLs = []string{"https://elsewhere.test/layer"}
	if got, err = layerDescriptor(desc, true, true); err != nil || got.MediaType != ociForeign+"+gzip" || len(got.URLs) != 1 {
		t.Errorf("layer that is elsewhere: %+v, %v", got, err)
	}
	if got, err = layerDescriptor(desc, true, false); err != nil || got.MediaType != ociGzip || got.URLs != nil {
		t.Errorf("layer that is made good: %+v, %v", got, err)
	}
}
