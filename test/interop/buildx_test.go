package interop_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// buildx runs the real one with a configuration of its own, in which the
// builder is the daemon reached by the remote driver.
type buildx struct {
	t   *testing.T
	env []string
}

// newBuildx makes the builder, as its documentation says.
func newBuildx(t *testing.T, address string) buildx {
	t.Helper()
	b := buildx{t, []string{"DOCKER_CONFIG=" + t.TempDir(), "BUILDX_NO_DEFAULT_LOAD=1", "BUILDX_BUILDER=", "DOCKER_HOST=unix:///nonexistent",
		"BUILDX_BAKE_ENTITLEMENTS_FS=0"}}
	b.run("create", "--name=kiln", "--driver=remote", "--use", address).ok(t)
	return b
}

func (b buildx) run(args ...string) outcome {
	b.t.Helper()
	return run(b.t, "", b.env, foreign(b.t, "buildx"), args...)
}

// TestBuildx builds the quickstart with the real buildx in every form of
// output.
func TestBuildx(t *testing.T) {
	d := watch(t)
	dir, args := quickstart(t)
	b := newBuildx(t, d.Address)
	if out := b.run("inspect", "--bootstrap").ok(t).stdout; !strings.Contains(out, "running") || !strings.Contains(out, "linux/amd64") && !strings.Contains(out, "linux/arm64") {
		t.Errorf("inspect says %s", out)
	}
	build := func(more ...string) outcome {
		options := []string{"build", "--progress=plain"}
		for _, a := range args {
			options = append(options, "--build-arg="+a)
		}
		return b.run(append(append(options, more...), dir)...).ok(t)
	}
	image, out := world.registry.Addr+"/hello:buildx", t.TempDir()
	meta := filepath.Join(out, "meta.json")
	build("--tag="+image, "--push", "--metadata-file="+meta)
	var told map[string]any
	if err := json.Unmarshal([]byte(read(t, meta)), &told); err != nil {
		t.Fatal(err)
	}
	if manifest := pulled(t, image); told["containerimage.digest"] != manifest.digest || len(manifest.Layers) != 2 {
		t.Errorf("metadata file says %v, the registry has %+v", told, manifest)
	}
	if list := ctr(t, d, "images", "ls").ok(t).stdout; !strings.Contains(list, image) {
		t.Errorf("ctr does not see %s:\n%s", image, list)
	}
	again := build("--output=type=local,dest=" + filepath.Join(out, "rootfs"))
	if ran := readSteps(again.stderr).ran(); len(ran) != 0 {
		t.Errorf("second build ran %q", ran)
	}
	hello(t, filepath.Join(out, "rootfs"))
	checkArchives(t, out, build)
	b.run("du").ok(t)
}

// TestBuildxCheck asks the frontend to judge a Dockerfile, and for its
// stages.
func TestBuildxCheck(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+" AS One\nCMD echo\n")
	b.run("build", "--check", dir).failed(t)
	if out := b.run("build", "--call=targets", dir).ok(t).stdout; !strings.Contains(out, "one") {
		t.Errorf("targets: %s", out)
	}
}

// TestBuildxFailure shows an error with its place in the Dockerfile.
func TestBuildxFailure(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo last words; exit 42\n")
	b.run("build", "--progress=plain", dir).failed(t, "Dockerfile:2", ">>> RUN echo last words", "exit code: 42", "last words")
}

// TestBuildxBake builds two targets of a file at once.
func TestBuildxBake(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	out := t.TempDir()
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+" AS build\nRUN echo built > /f\nFROM scratch AS one\nCOPY --from=build /f /one\nFROM scratch AS two\nCOPY --from=build /f /two\n",
		"docker-bake.hcl", `group "default" { targets = ["one", "two"] }
target "one" {
  target = "one"
  output = ["type=local,dest=`+out+`/1"]
}
target "two" {
  target = "two"
  output = ["type=local,dest=`+out+`/2"]
}
`)
	b.run("bake", "--progress=plain", "--file="+filepath.Join(dir, "docker-bake.hcl"), "--set=*.context="+dir).ok(t)
	if read(t, filepath.Join(out, "1", "one")) != "built\n" || read(t, filepath.Join(out, "2", "two")) != "built\n" {
		t.Error("bake built something else")
	}
}
