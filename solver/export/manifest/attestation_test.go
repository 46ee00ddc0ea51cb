package manifest_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/ref"
)

func TestAttestations(t *testing.T) {
	h := exporttest.NewHost(t)
	say := export.Attestation{
		PredicateType: "https://example.com/p", Path: "p.json",
		Data: func(context.Context, []ocispecs.Descriptor) ([]byte, error) { return []byte(`{"k":1}`), nil },
	}
	src := &export.Source{
		Refs: map[string]*ref.Ref{
			"linux/amd64": h.Ref(nil, exporttest.Files{"a": "amd"}), "linux/arm64": h.Ref(nil, exporttest.Files{"a": "arm"}),
		},
		Platforms:    []export.Platform{platform("linux/amd64"), platform("linux/arm64")},
		Attestations: map[string][]export.Attestation{"linux/amd64": {say}},
	}
	single := &export.Source{
		Ref: src.Refs["linux/amd64"], Platforms: src.Platforms[:1], Attestations: map[string][]export.Attestation{"": {say}},
	}
	for name, tc := range map[string]struct {
		src      *export.Source
		artifact string
		images   int
	}{
		"platforms":       {src, "true", 2},
		"single":          {single, "true", 1},
		"single as image": {single, "false", 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := &exporttest.Env{}
			im, err := assemble(t, h, tc.src, map[string]string{"name": "app,r.test/b:2", "oci-artifact": tc.artifact}, env)
			if err != nil {
				t.Fatal(err)
			}
			var idx ocispecs.Index
			if err := json.Unmarshal(h.Read(im.Descriptor), &idx); err != nil || len(idx.Manifests) != tc.images+1 {
				t.Fatalf("index is %+v, %v", idx, err)
			}
			image, att := idx.Manifests[0], idx.Manifests[tc.images]
			if att.Platform.OS != "unknown" || att.Annotations["vnd.docker.reference.digest"] != image.Digest.String() ||
				att.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
				t.Errorf("descriptor is %+v", att)
			}
			var m ocispecs.Manifest
			if err := json.Unmarshal(h.Read(att), &m); err != nil || len(m.Layers) != 1 ||
				m.Layers[0].Annotations["in-toto.io/predicate-type"] != say.PredicateType {
				t.Fatalf("manifest is %+v, %v", m, err)
			}
			checkStatement(t, h.Read(m.Layers[0]), image)
			if tc.artifact == "true" {
				if m.Subject == nil || m.Subject.Digest != image.Digest || m.Config.MediaType != ocispecs.MediaTypeEmptyJSON || m.ArtifactType == "" {
					t.Errorf("artifact is %+v", m)
				}
			} else {
				var config ocispecs.Image
				if err := json.Unmarshal(h.Read(m.Config), &config); err != nil || config.OS != "unknown" || config.RootFS.DiffIDs[0] != m.Layers[0].Digest {
					t.Errorf("config is %+v, %v", config, err)
				}
			}
			blobs := im.Blobs()
			for _, want := range []ocispecs.Descriptor{m.Config, m.Layers[0]} {
				if !slices.ContainsFunc(blobs, func(d ocispecs.Descriptor) bool { return d.Digest == want.Digest }) {
					t.Errorf("%s is not among the blobs", want.Digest)
				}
			}
			if !env.Saw("exporting attestation manifest sha256:") {
				t.Errorf("statuses are %q", env.Completed())
			}
		})
	}
}

// checkStatement looks at the statement about an image with two names.
func checkStatement(t *testing.T, data []byte, image ocispecs.Descriptor) {
	t.Helper()
	var s struct {
		Type    string `json:"_type"`
		Subject []struct {
			Name   string
			Digest map[string]string
		}
		Predicate map[string]int
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	if s.Type != "https://in-toto.io/Statement/v1" || len(s.Subject) != 2 || s.Predicate["k"] != 1 ||
		s.Subject[0].Name != "pkg:docker/app@latest?platform=linux%2Famd64" || s.Subject[1].Digest["sha256"] != image.Digest.Encoded() {
		t.Errorf("statement is %s", data)
	}
}
