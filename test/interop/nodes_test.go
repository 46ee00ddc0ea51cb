package interop_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// TestBuildxNodes builds for two platforms on two daemons, each of which has
// one, and joins the results in one image: how native builders of several
// architectures work together.
func TestBuildxNodes(t *testing.T) {
	nodes := map[string]*daemon.Daemon{}
	for _, arch := range []string{"amd64", "arm64"} {
		nodes[arch] = fresh(t, daemon.Config{Args: []string{"--oci-worker-platform=linux/" + arch}})
	}
	b := newBuildx(t, nodes["amd64"].Address)
	b.run("create", "--append", "--name=kiln", "--driver=remote", "--platform=linux/arm64", nodes["arm64"].Address).ok(t)
	if out := b.run("inspect", "--bootstrap").ok(t).stdout; strings.Count(out, "Status:") != 2 || strings.Contains(out, "Error") {
		t.Fatalf("nodes are\n%s", out)
	}
	image := world.registry.Addr + "/buildx-nodes:1"
	dir := folder(t, "Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY file-$TARGETARCH /file\n", "file-amd64", "for amd64", "file-arm64", "for arm64")
	meta := filepath.Join(t.TempDir(), "meta.json")
	b.run("build", "--platform=linux/amd64,linux/arm64", "--provenance=false", "--push", "--tag="+image, "--metadata-file="+meta, dir).ok(t)

	var index struct {
		Manifests []struct {
			Platform struct{ Architecture string }
		}
	}
	decode(t, b.run("imagetools", "inspect", "--raw", image).ok(t).stdout, &index)
	found := map[string]bool{}
	for _, m := range index.Manifests {
		found[m.Platform.Architecture] = true
	}
	if len(index.Manifests) != 2 || !found["amd64"] || !found["arm64"] {
		t.Errorf("index %+v", index)
	}
	var told map[string]json.RawMessage
	decode(t, read(t, meta), &told)
	if len(told["containerimage.digest"]) == 0 {
		t.Errorf("metadata %s", read(t, meta))
	}
	// Each node worked for its own platform only.
	for arch, d := range nodes {
		shown := buildctl(t, d, "debug", "histories", "--format={{json .}}").ok(t).stdout
		other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[arch]
		if !strings.Contains(shown, "linux/"+arch) || strings.Contains(shown, "linux/"+other) {
			t.Errorf("the node of %s built %s", arch, shown)
		}
	}
	// One platform alone goes to the node that has it.
	out := t.TempDir()
	b.run("build", "--platform=linux/arm64", "--output="+out, dir).ok(t)
	if text := read(t, filepath.Join(out, "file")); text != "for arm64" {
		t.Errorf("built %q", text)
	}
}
