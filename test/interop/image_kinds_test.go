package interop_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// imageKind is one way to make an image, and what readers are to find.
type imageKind struct {
	name string
	// options of the build, attributes of its output.
	options []string
	attrs   string
	// root, manifest and layer are media types; layer of all layers.
	root, manifest, layer string
	// platforms and attestations are counted in the index.
	platforms, attestations int
	// texts that the index, or the only manifest, has.
	texts []string
}

// Media types in full.
const (
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

func imageKinds(t *testing.T) []imageKind {
	t.Helper()
	both := []string{"--opt=platform=linux/amd64,linux/arm64"}
	attest := []string{"--opt=attest:provenance=mode=max,capture-usage=true", "--opt=attest:sbom=generator=" + base(t, "scanner")}
	one := func(name, attrs, manifest, layer string, texts ...string) imageKind {
		return imageKind{name: name, attrs: attrs + ",force-compression=true", root: manifest, manifest: manifest, layer: layer, platforms: 1, texts: texts}
	}
	return []imageKind{
		one("oci-gzip", "compression=gzip", ociManifest, ociLayer+"+gzip"),
		one("oci-zstd", "compression=zstd", ociManifest, ociLayer+"+zstd"),
		one("oci-estargz", "compression=estargz", ociManifest, ociLayer+"+gzip", "containerd.io/snapshot/stargz/toc.digest"),
		one("oci-uncompressed", "compression=uncompressed", ociManifest, ociLayer),
		one("docker-gzip", "oci-mediatypes=false,compression=gzip", dockerManifest, dockerLayer+".gzip"),
		one("docker-uncompressed", "oci-mediatypes=false,compression=uncompressed", dockerManifest, dockerLayer),
		{name: "docker-list", options: both, attrs: "oci-mediatypes=false", root: dockerList, manifest: dockerManifest, layer: dockerLayer + ".gzip", platforms: 2},
		{
			name: "annotated", options: both, root: ociIndex, manifest: ociManifest, layer: ociLayer + "+gzip", platforms: 2,
			attrs: "annotation.test.manifest=all,annotation-manifest-descriptor[linux/arm64].test.descriptor=arm,annotation-index.test.index=list," +
				"annotation-index-descriptor.test.root=outside",
			texts: []string{`"test.descriptor": "arm"`, `"test.index": "list"`},
		},
		{
			name: "attested", options: attest, root: ociIndex, manifest: ociManifest, layer: ociLayer + "+gzip", platforms: 1, attestations: 1,
			texts: []string{"attestation-manifest"},
		},
		{
			name: "attested-image", options: attest, attrs: "oci-artifact=false,compression=zstd", root: ociIndex, manifest: ociManifest, platforms: 1, attestations: 1,
		},
		{
			name: "attested-both", options: append(both, attest[0]), root: ociIndex, manifest: ociManifest, layer: ociLayer + "+gzip", platforms: 2, attestations: 2,
		},
	}
}

// index is what readers find at the root.
type index struct {
	MediaType   string
	Annotations map[string]string
	Layers      []layer
	Manifests   []struct {
		MediaType, Digest string
		Annotations       map[string]string
		Platform          struct{ OS, Architecture string }
	}
}

type layer struct {
	MediaType, Digest string
	URLs              []string
}

// TestImageKinds makes every kind of image, and has buildx, skopeo and ctr read
// each: the first two from a registry, the last in the daemon's own store and
// somewhere else.
func TestImageKinds(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox-multi")+"\nCOPY file /file\n", "file", "text\n")
	for _, k := range imageKinds(t) {
		t.Run(k.name, func(t *testing.T) {
			image := world.registry.Addr + "/kinds:" + k.name
			output := "--output=type=image,push=true,name=" + image
			if k.attrs != "" {
				output += "," + k.attrs
			}
			dockerfile(t, d, dir, append(k.options, output)...).ok(t)
			root := k.checkRegistry(t, b, image)
			readWithCtr(t, d, image, root)
		})
	}
}

// checkRegistry reads a pushed image and returns the digest of its root.
func (k *imageKind) checkRegistry(t *testing.T, b buildx, image string) string {
	t.Helper()
	raw := run(t, "", nil, "skopeo", "inspect", "--tls-verify=false", "--raw", "docker://"+image).ok(t).stdout
	if other := b.run("imagetools", "inspect", "--raw", image).ok(t).stdout; strings.TrimSpace(other) != strings.TrimSpace(raw) {
		t.Errorf("buildx reads other bytes than skopeo:\n%s\n%s", other, raw)
	}
	root := digestOf(raw)
	if shown := b.run("imagetools", "inspect", image).ok(t).stdout; !strings.Contains(shown, root) || !strings.Contains(shown, k.root) {
		t.Errorf("imagetools inspect does not show %s of type %s:\n%s", root, k.root, shown)
	}
	for _, text := range k.texts {
		if !strings.Contains(raw, text) {
			t.Errorf("no %s in %s", text, raw)
		}
	}
	var idx index
	decode(t, raw, &idx)
	if idx.MediaType != k.root {
		t.Errorf("type is %s, want %s", idx.MediaType, k.root)
	}
	platforms, attestations := 1, 0
	if len(idx.Manifests) > 0 {
		platforms = 0
	} else {
		k.checkLayers(t, idx.Layers)
	}
	for _, m := range idx.Manifests {
		var child index
		decode(t, b.run("imagetools", "inspect", "--raw", image+"@"+m.Digest).ok(t).stdout, &child)
		if m.Platform.OS == "unknown" {
			attestations++
			for _, l := range child.Layers {
				if l.MediaType != "application/vnd.in-toto+json" {
					t.Errorf("attestation is of type %s", l.MediaType)
				}
			}
			continue
		}
		platforms++
		if m.MediaType != k.manifest || child.MediaType != k.manifest {
			t.Errorf("manifest of type %s, told to be %s, want %s", child.MediaType, m.MediaType, k.manifest)
		}
		if k.name == "annotated" && child.Annotations["test.manifest"] != "all" {
			t.Errorf("annotations of the manifest are %v", child.Annotations)
		}
		k.checkLayers(t, child.Layers)
	}
	if platforms != k.platforms || attestations != k.attestations {
		t.Errorf("%d platforms and %d attestations, want %d and %d", platforms, attestations, k.platforms, k.attestations)
	}
	k.checkStatements(t, b, image)
	var seen struct {
		Architecture string
		Layers       []string
	}
	decode(t, run(t, "", nil, "skopeo", "inspect", "--tls-verify=false", "docker://"+image).ok(t).stdout, &seen)
	if seen.Architecture != "amd64" || len(seen.Layers) != 2 {
		t.Errorf("skopeo inspect sees %+v", seen)
	}
	// All blobs are there and are what their digests say.
	run(t, "", nil, "skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "docker://"+image, "dir:"+t.TempDir()).ok(t)
	return root
}

// checkLayers looks at the types of layers; the base's may be another where
// nothing forces one.
func (k *imageKind) checkLayers(t *testing.T, layers []layer) {
	t.Helper()
	if len(layers) != 2 || k.layer != "" && slices.ContainsFunc(layers, func(l layer) bool { return l.MediaType != k.layer }) {
		t.Errorf("layers are %+v, want two of type %s", layers, k.layer)
	}
}

// checkStatements has buildx interpret what is said about an image.
func (k *imageKind) checkStatements(t *testing.T, b buildx, image string) {
	t.Helper()
	if !strings.HasPrefix(k.name, "attested") {
		return
	}
	var told map[string]json.RawMessage
	decode(t, b.run("imagetools", "inspect", image, "--format={{json .Provenance}}").ok(t).stdout, &told)
	statements := []json.RawMessage{told["SLSA"]}
	if k.platforms > 1 {
		statements = nil
		for _, platform := range []string{"linux/amd64", "linux/arm64"} {
			var one struct{ SLSA json.RawMessage }
			decode(t, string(told[platform]), &one)
			statements = append(statements, one.SLSA)
		}
	}
	for _, s := range statements {
		var p provenance
		decode(t, string(s), &p)
		if !p.dependsOn("/busybox") || len(p.RunDetails.Metadata.Build.SysUsage) == 0 || len(p.RunDetails.Metadata.Build.Layers) == 0 {
			t.Errorf("provenance is %s", s)
		}
	}
	if k.platforms == 1 {
		if bill := b.run("imagetools", "inspect", image, "--format={{json .SBOM}}").ok(t).stdout; !strings.Contains(bill, "SPDX") {
			t.Errorf("bill of materials is %s", bill)
		}
	}
}

// readWithCtr finds an image complete in the daemon's store, exports it, and
// imports it into another namespace, where it is the same.
func readWithCtr(t *testing.T, d *daemon.Daemon, image, root string) {
	t.Helper()
	check := ctr(t, d, "images", "check", "name=="+image).ok(t).stdout
	if !strings.Contains(check, root) || !strings.Contains(check, "complete") {
		t.Errorf("ctr images check:\n%s", check)
	}
	tar := filepath.Join(t.TempDir(), "image.tar")
	ctr(t, d, "images", "export", "--local", "--all-platforms", tar, image).ok(t)
	other := func(args ...string) outcome {
		return run(t, "", nil, foreign(t, "ctr"), append([]string{"-a", d.Containerd, "-n", "elsewhere"}, args...)...)
	}
	other("images", "import", "--local", "--no-unpack", "--all-platforms", tar).ok(t)
	list := other("images", "ls").ok(t).stdout
	if !strings.Contains(list, image) || !strings.Contains(list, root) {
		t.Errorf("what was imported elsewhere is\n%s", list)
	}
	if check := other("images", "check", "--snapshotter=kiln", "name=="+image).ok(t).stdout; !strings.Contains(check, "complete") {
		t.Errorf("elsewhere ctr images check says\n%s", check)
	}
	other("images", "rm", "--sync", image).ok(t)
	ctr(t, d, "images", "rm", "--sync", image).ok(t)
}

// TestImageForeignLayers builds upon an image whose layer must be had from
// elsewhere: that stays so if asked for, and is made good otherwise.
func TestImageForeignLayers(t *testing.T) {
	d := watch(t)
	out := t.TempDir()
	layout := filepath.Join(out, "base")
	dockerfile(t, d, folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /from-elsewhere\n"), "--output=type=oci,tar=false,dest="+layout).ok(t)
	foreignType, url := "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "https://elsewhere.test/layer"
	root := rootOf(t, read(t, filepath.Join(layout, "index.json")))
	blobs := filepath.Join(layout, "blobs", "sha256")
	text := read(t, filepath.Join(blobs, strings.TrimPrefix(root, "sha256:")))
	var m map[string]any
	decode(t, text, &m)
	for _, l := range m["layers"].([]any) {
		l.(map[string]any)["mediaType"], l.(map[string]any)["urls"] = foreignType, []string{url}
	}
	changed, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	plain, root := root, digestOf(string(changed))
	write(t, filepath.Join(blobs, strings.TrimPrefix(root, "sha256:")), string(changed))
	dir := folder(t, "Dockerfile", "FROM base\nCOPY Dockerfile /file\n")
	build := func(name, root, attrs string) []layer {
		to := filepath.Join(out, name)
		dockerfile(t, d, dir, "--oci-layout=base="+layout, "--opt=context:base=oci-layout://base@"+root,
			"--output=type=oci,tar=false,compression=gzip,dest="+to+attrs).ok(t)
		var got index
		decode(t, run(t, "", nil, "skopeo", "inspect", "--raw", "oci:"+to).ok(t).stdout, &got)
		if len(got.Layers) != 2 {
			t.Fatalf("layers are %+v", got.Layers)
		}
		return got.Layers
	}
	// The same files without the address are in the cache by then.
	if got := build("plain", plain, ",prefer-nondist-layers=true"); got[0].MediaType != ociLayer+"+gzip" || len(got[0].URLs) != 0 {
		t.Errorf("layers are %+v", got)
	}
	if got := build("kept", root, ",prefer-nondist-layers=true"); got[0].MediaType != foreignType || !slices.Equal(got[0].URLs, []string{url}) ||
		got[1].MediaType != ociLayer+"+gzip" {
		t.Errorf("layers are %+v", got)
	}
	if got := build("made-good", root, ""); got[0].MediaType != ociLayer+"+gzip" || len(got[0].URLs) != 0 {
		t.Errorf("layers are %+v", got)
	}
	run(t, "", nil, "skopeo", "--insecure-policy", "copy", "oci:"+out+"/made-good", "dir:"+out+"/copy").ok(t)
}
