package attest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"
)

// layersOf knows the layers of "/a" and "b".
func layersOf(_ context.Context, names []string) (map[string]digest.Digest, error) {
	known := map[string]digest.Digest{"/a": "sha256:1", "b": "sha256:2"}
	out := map[string]digest.Digest{}
	for _, n := range names {
		if d, ok := known[n]; ok {
			out[n] = d
		}
	}
	return out, nil
}

func TestSupplement(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"files": {
			`{"SPDXID":"x","files":[{"fileName":"/a","size":12345678901234567890},{"fileName":"/no"},{"fileName":"b","comment":"mine"},null,{}],"unknown":{"k":1.0}}`,
			`{"SPDXID":"x","creationInfo":{"creators":["Tool: t"]},"unknown":{"k":1.0},
				"files":[{"fileName":"/a","size":12345678901234567890,"comment":"layerID: sha256:1"},{"fileName":"/no"},{"fileName":"b","comment":"mine"},null,{}]}`,
		},
		"packages": {
			`{"SPDXID":"x","packages":[{"name":"p","files":[{"fileName":"b"}]},{"name":"q"}],"creationInfo":{"created":"now","creators":["Tool: s"]}}`,
			`{"SPDXID":"x","packages":[{"name":"p","files":[{"fileName":"b","comment":"layerID: sha256:2"}]},{"name":"q"}],
				"creationInfo":{"created":"now","creators":["Tool: s","Tool: t"]}}`,
		},
		"nothing":       {`{"SPDXID":"x"}`, `{"SPDXID":"x","creationInfo":{"creators":["Tool: t"]}}`},
		"no document":   {`{"files":[{"fileName":"/a"}]}`, `{"files":[{"fileName":"/a"}]}`},
		"other shape":   {`{"SPDXID":"x","files":{}}`, `{"SPDXID":"x","files":{}}`},
		"strange names": {`{"SPDXID":"x","files":[{"fileName":7}]}`, `{"SPDXID":"x","files":[{"fileName":7}],"creationInfo":{"creators":["Tool: t"]}}`},
		"list":          {`[]`, `[]`},
	} {
		d := &Document{
			PredicateType: PredicateSPDX, Path: "/sbom.spdx.json", Predicate: []byte(test.in),
			Metadata: map[string][]byte{MetaCore: []byte("sbom")},
		}
		if err := d.Supplement(t.Context(), layersOf, "Tool: t"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !sameJSON(t, d.Predicate, []byte(test.want)) {
			t.Errorf("%s: %s", name, d.Predicate)
		}
	}
}

func TestSupplementOthers(t *testing.T) {
	const text = `{"SPDXID":"x","files":[{"fileName":"/a"}]}`
	core := map[string][]byte{MetaCore: []byte("sbom")}
	for name, d := range map[string]*Document{
		"of a stage":    {PredicateType: PredicateSPDX, Path: "sbom-base.json", Predicate: []byte(text), Metadata: core},
		"other type":    {PredicateType: "https://x", Path: "sbom.json", Predicate: []byte(text), Metadata: core},
		"not a scanner": {PredicateType: PredicateSPDX, Path: "sbom.json", Predicate: []byte(text)},
	} {
		if err := d.Supplement(t.Context(), layersOf, "Tool: t"); err != nil || string(d.Predicate) != text {
			t.Errorf("%s: %s, %v", name, d.Predicate, err)
		}
	}
	d := &Document{PredicateType: PredicateSPDX, Path: "sbom.json", Predicate: []byte(text), Metadata: core}
	broken := errors.New("broken")
	err := d.Supplement(t.Context(), func(context.Context, []string) (map[string]digest.Digest, error) { return nil, broken }, "")
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	decode := func(data []byte) (v any) {
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		return v
	}
	return reflect.DeepEqual(decode(a), decode(b))
}

// FuzzSupplement feeds what scanners write.
func FuzzSupplement(f *testing.F) {
	f.Add([]byte(`{"SPDXID":"x","files":[{"fileName":"/a"},null],"packages":[{"files":[]},null],"creationInfo":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		d := &Document{PredicateType: PredicateSPDX, Path: "sbom", Predicate: data, Metadata: map[string][]byte{MetaCore: []byte("sbom")}}
		if err := d.Supplement(t.Context(), layersOf, "Tool: t"); err != nil || !json.Valid(d.Predicate) {
			t.Errorf("%s becomes %s, %v", data, d.Predicate, err)
		}
	})
}
