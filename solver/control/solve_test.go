package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

func TestToRequest(t *testing.T) {
	r, err := toRequest(&control.SolveRequest{
		Ref: "r", Session: "s", Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"target": "x"},
		ExporterDeprecated: "image", ExporterAttrsDeprecated: map[string]string{"name": "old"},
		Exporters: []*control.Exporter{{Type: "oci"}, {Type: "local"}},
		Cache:     &control.CacheOptions{ImportRefsDeprecated: []string{"reg/x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Exporters) != 2 || r.Exporters[0].Type != "oci" {
		t.Errorf("exporters %v: the deprecated field counts only alone", r.Exporters)
	}
	if len(r.CacheImports) != 1 || r.CacheImports[0].Attrs["ref"] != "reg/x" {
		t.Errorf("cache imports %v", r.CacheImports)
	}
	r, err = toRequest(&control.SolveRequest{ExporterDeprecated: "image", ExporterAttrsDeprecated: map[string]string{"name": "old"}})
	if err != nil || len(r.Exporters) != 1 || r.Exporters[0].Attrs["name"] != "old" {
		t.Errorf("exporters %v, error %v", r.Exporters, err)
	}
}

func TestCompatibilityVersions(t *testing.T) {
	for v, want := range map[int64]string{0: "", 10: "", 30: "", 40: "upgrade buildkit (max supported: 30)", 15: "(supported: [10 20 30])"} {
		_, err := toRequest(&control.SolveRequest{CompatibilityVersion: v})
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !errors.Is(err, errdefs.ErrInvalidArgument)) {
			t.Errorf("version %d: %v", v, err)
		}
	}
}

func TestDuplicateCacheExports(t *testing.T) {
	entry := func(kind string, attrs ...string) *control.CacheOptionsEntry {
		e := &control.CacheOptionsEntry{Type: kind, Attrs: map[string]string{}}
		for i := 0; i < len(attrs); i += 2 {
			e.Attrs[attrs[i]] = attrs[i+1]
		}
		return e
	}
	tests := []struct {
		name    string
		entries []*control.CacheOptionsEntry
		want    int
		fails   bool
	}{
		{"inline twice", []*control.CacheOptionsEntry{entry("inline"), entry("inline")}, 1, false},
		{"two registries", []*control.CacheOptionsEntry{entry("registry", "ref", "a"), entry("registry", "ref", "b")}, 2, false},
		{"one registry twice", []*control.CacheOptionsEntry{entry("registry", "ref", "a"), entry("registry", "ref", "a", "mode", "max")}, 0, true},
		{"local twice", []*control.CacheOptionsEntry{entry("local", "dest", "a"), entry("local", "dest", "a")}, 0, true},
	}
	for _, tt := range tests {
		got, err := cacheExports(&control.CacheOptions{Exports: tt.entries})
		if (err != nil) != tt.fails || len(got) != tt.want {
			t.Errorf("%s: %v, error %v", tt.name, got, err)
		}
	}
}
