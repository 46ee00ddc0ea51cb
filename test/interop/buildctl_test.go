package interop_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// quickstart copies the example and returns its folder and the options that
// name the base images. busybox is the image the program ends up on.
func quickstart(t *testing.T) (dir string, options []string) {
	t.Helper()
	root, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "examples", "quickstart"))); err != nil {
		t.Fatal(err)
	}
	args := []string{"DEBIAN=" + base(t, "debian"), "BUSYBOX=" + base(t, "busybox"), "BUILDER=" + t.Name()}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value := os.Getenv(name); value != "" {
			args = append(args, name+"="+value)
		}
	}
	return dir, args
}

// asOpts writes build arguments in buildctl's words.
func asOpts(args []string) []string {
	var opts []string
	for _, a := range args {
		opts = append(opts, "--opt=build-arg:"+a)
	}
	return opts
}

// hello runs the quickstart's program of a root file system.
func hello(t *testing.T, rootfs string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "chroot", rootfs, "/usr/bin/hello").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "hello from an image built by "+t.Name()) {
		t.Errorf("the image's program: %v, %q", err, out)
	}
}

// TestBuildctl builds the quickstart with the real buildctl in every form of
// output, looks at the image with the real ctr, and builds again from the
// cache and after an edit.
func TestBuildctl(t *testing.T) {
	d := watch(t)
	dir, args := quickstart(t)
	image := world.registry.Addr + "/hello:buildctl"
	build := func(more ...string) outcome {
		return dockerfile(t, d, dir, append(asOpts(args), more...)...).ok(t)
	}
	out := t.TempDir()
	meta := filepath.Join(out, "meta.json")
	build("--output=type=image,push=true,name="+image, "--metadata-file="+meta)
	manifest := pulled(t, image)
	if len(manifest.Layers) != 2 {
		t.Errorf("image has %d layers, want busybox's and the program's", len(manifest.Layers))
	}
	var told map[string]any
	if err := json.Unmarshal([]byte(read(t, meta)), &told); err != nil {
		t.Fatal(err)
	}
	if told["containerimage.digest"] != manifest.digest || told["image.name"] != image {
		t.Errorf("metadata file says %v, the registry has %s", told, manifest.digest)
	}
	if list := ctr(t, d, "images", "ls").ok(t).stdout; !strings.Contains(list, image) || !strings.Contains(list, manifest.digest) {
		t.Errorf("ctr does not see %s:\n%s", image, list)
	}

	again := build("--output=type=local,dest=" + filepath.Join(out, "rootfs"))
	if ran := readSteps(again.stderr).ran(); len(ran) != 0 {
		t.Errorf("second build ran %q", ran)
	}
	hello(t, filepath.Join(out, "rootfs"))
	checkArchives(t, out, build)

	write(t, filepath.Join(dir, "hello.c"), strings.Replace(read(t, filepath.Join(dir, "hello.c")), "hello from", "hello  from", 1))
	edited := readSteps(build().stderr)
	for _, name := range []string{"RUN apt-get", "WORKDIR"} {
		if !edited.wasCached(name) {
			t.Errorf("%s ran again after an edit of hello.c", name)
		}
	}
	for _, name := range []string{"COPY hello.c", "RUN gcc", "COPY --from=build"} {
		if !edited.finished(name) || edited.wasCached(name) {
			t.Errorf("%s did not run again after an edit of hello.c", name)
		}
	}
}

// checkArchives builds every form of archive and reads each one back.
func checkArchives(t *testing.T, out string, build func(...string) outcome) {
	t.Helper()
	for _, kind := range []string{"oci", "docker", "tar"} {
		path := filepath.Join(out, kind+".tar")
		more := ""
		if kind != "tar" {
			more = ",name=example.com/hello:" + kind
		}
		build("--output=type=" + kind + ",dest=" + path + more)
		var rootfs string
		switch kind {
		case "tar":
			rootfs = unpackTar(t, path)
		case "oci":
			rootfs = unpackImage(t, "oci-archive:"+path)
		case "docker":
			rootfs = unpackImage(t, "docker-archive:"+path)
		}
		hello(t, rootfs)
	}
}

// unpackTar extracts an archive of files.
func unpackTar(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "", nil, "tar", "-C", dir, "-xf", path).ok(t)
	return dir
}

// unpackImage copies an image with skopeo, which checks every digest, and
// extracts its layers.
func unpackImage(t *testing.T, from string) string {
	t.Helper()
	flat, dir := t.TempDir(), t.TempDir()
	run(t, "", nil, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", from, "dir:"+flat).ok(t)
	var m manifest
	if err := json.Unmarshal([]byte(read(t, filepath.Join(flat, "manifest.json"))), &m); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		run(t, "", nil, "tar", "-C", dir, "-xf", filepath.Join(flat, strings.TrimPrefix(l.Digest, "sha256:"))).ok(t)
	}
	return dir
}

// manifest is what the tests read of an image manifest or an index.
type manifest struct {
	MediaType string
	Config    struct{ Digest string }
	Layers    []struct {
		MediaType, Digest string
		Size              int64
	}
	Manifests []struct {
		MediaType, Digest string
		Platform          struct{ OS, Architecture string }
		Annotations       map[string]string
	}

	digest string
}

// pulled reads the manifest of an image for this machine from the registry;
// digest is what the tag points at.
func pulled(t *testing.T, ref string) manifest {
	t.Helper()
	m := fetchManifest(t, ref)
	top := m.digest
	for _, child := range m.Manifests {
		if child.Annotations["vnd.docker.reference.type"] == "" {
			name, _, _ := strings.Cut(strings.TrimPrefix(ref, world.registry.Addr+"/"), ":")
			m = fetchManifest(t, world.registry.Addr+"/"+name+"@"+child.Digest)
			break
		}
	}
	m.digest = top
	return m
}

// fetchManifest reads what a reference points at.
func fetchManifest(t *testing.T, ref string) manifest {
	t.Helper()
	raw := run(t, "", nil, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref).ok(t).stdout
	var m manifest
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatal(err)
	}
	m.digest = digestOf(raw)
	return m
}
