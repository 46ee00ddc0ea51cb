package image_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/image"
)

// engine exports one file as an engine does and returns the digest.
func engine(t *testing.T, h *exporttest.Host, text, name string) string {
	t.Helper()
	in, err := image.NewEngine(config(h)).Resolve(t.Context(), map[string]string{"name": name, "prefer-image-digest": "true"})
	if err != nil {
		t.Fatal(err)
	}
	env := &exporttest.Env{}
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": text}), Metadata: map[string][]byte{export.MetaEpoch: []byte("0")}}
	resp, err := in.Export(t.Context(), src, export.Target{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Release != nil {
		resp.Release(t.Context())
	}
	if !slices.ContainsFunc(env.Completed(), func(s string) bool { return strings.HasPrefix(s, "unpacking to ") }) {
		t.Errorf("the image is not unpacked: %q", env.Completed())
	}
	return resp.Values[export.ValueDigest]
}

// TestEngineNames builds as users of an engine do: no image is lost when its
// name moves on.
func TestEngineNames(t *testing.T) {
	h := exporttest.NewHost(t)
	expect := func(want ...string) {
		t.Helper()
		list, err := h.Images.List(h.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, im := range list {
			got = append(got, im.Name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("names are %q, want %q", got, want)
		}
	}
	first := engine(t, h, "1", "a, r.test/b:x,a:latest")
	expect("docker.io/library/a:latest", "r.test/b:x")
	engine(t, h, "1", "a")
	expect("docker.io/library/a:latest", "r.test/b:x")
	engine(t, h, "2", "a")
	expect("docker.io/library/a:latest", "r.test/b:x")
	engine(t, h, "2", "r.test/b:x")
	expect("docker.io/library/a:latest", "r.test/b:x", image.DanglingPrefix+"@"+first)
	third := engine(t, h, "3", "")
	expect("docker.io/library/a:latest", "r.test/b:x", image.DanglingPrefix+"@"+first, image.DanglingPrefix+"@"+third)
	engine(t, h, "3", "c:1")
	expect("docker.io/library/a:latest", "docker.io/library/c:1", "r.test/b:x", image.DanglingPrefix+"@"+first)
	for _, bad := range []map[string]string{
		{"name": "UPPER"}, {"name": "a@sha256:" + strings.Repeat("0", 64)}, {"push-by-digest": "true"},
	} {
		if _, err := image.NewEngine(config(h)).Resolve(t.Context(), bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
