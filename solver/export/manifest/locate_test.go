package manifest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/manifest"
)

// TestLayersInBillOfMaterials: of each file the layer is told that brings what
// is seen.
func TestLayersInBillOfMaterials(t *testing.T) {
	h := exporttest.NewHost(t)
	base := h.Ref(nil, exporttest.Files{"a": "1", "d/b": "1"})
	top := h.Ref(base, exporttest.Files{"d/b": "2", "c": "2"})
	src := &export.Source{
		Ref: top, Platforms: []export.Platform{platform("linux/amd64")},
		Attestations: map[string][]export.Attestation{"": {{
			PredicateType: "https://spdx.dev/Document", Path: "core.json", Metadata: map[string][]byte{"sbom-core": []byte("core")},
			Data: func(context.Context, []ocispecs.Descriptor) ([]byte, error) {
				return []byte(`{"SPDXID":"x","files":[{"fileName":"./a"},{"fileName":"d/b"},{"fileName":"/c"},{"fileName":"../../none"}]}`), nil
			},
		}}},
	}
	o, _, err := manifest.ParseOptions(map[string]string{"oci-mediatypes": "true"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if o, err = o.Finish(src); err != nil {
		t.Fatal(err)
	}
	asm := manifest.Assembler{Content: h.Content, Creator: "Tool: test-1"}
	im, err := asm.Assemble(h.Context(), src, o, &exporttest.Env{})
	if err != nil {
		t.Fatal(err)
	}
	m := im.Manifests[0]
	var list ocispecs.Manifest
	if err := json.Unmarshal(h.Read(m.Attestation.Descriptor), &list); err != nil {
		t.Fatal(err)
	}
	var s struct {
		Predicate struct {
			CreationInfo struct{ Creators []string }
			Files        []struct{ FileName, Comment string }
		}
	}
	if err := json.Unmarshal(h.Read(list.Layers[0]), &s); err != nil {
		t.Fatal(err)
	}
	if strings.Join(s.Predicate.CreationInfo.Creators, "") != "Tool: test-1" {
		t.Errorf("creators are %q", s.Predicate.CreationInfo.Creators)
	}
	lower, upper := "layerID: "+m.Layers[0].Digest.String(), "layerID: "+m.Layers[1].Digest.String()
	for i, want := range []string{lower, upper, upper, ""} {
		if got := s.Predicate.Files[i]; got.Comment != want {
			t.Errorf("%s: %q, want %q", got.FileName, got.Comment, want)
		}
	}
}
