package interop_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// TestSharedWork runs two equal builds at once: the step runs once, both see
// what it printed.
func TestSharedWork(t *testing.T) {
	d := watch(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+
		"\nRUN cat /proc/sys/kernel/random/uuid > /id; sleep 2\nRUN : shared $(date); cat /id\n")
	var ids [2]string
	var both sync.WaitGroup
	begin := time.Now()
	for i := range ids {
		// buildctl is built before the race for it would begin.
		foreign(t, "buildctl")
		both.Go(func() { ids[i] = readSteps(clientOutput(t, d, buildArgs(dir)...)).output("shared") })
	}
	both.Wait()
	if len(ids[0]) < 36 || ids[0] != ids[1] {
		t.Errorf("builds saw %q", ids)
	}
	t.Logf("both took %s", time.Since(begin))
}

// clientOutput runs buildctl in a goroutine that is not the test's.
func clientOutput(t *testing.T, d *daemon.Daemon, args ...string) string {
	path, err := daemon.Client(t.Context(), "buildctl")
	if err != nil {
		t.Error(err)
		return ""
	}
	out, err := exec.CommandContext(t.Context(), path, append([]string{"--addr", d.Address}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("buildctl: %v\n%s", err, out)
	}
	return string(out)
}

// TestManyBuilds runs many builds at once, each with work of its own and work
// that all share.
func TestManyBuilds(t *testing.T) {
	d := watch(t)
	kiln, ref := own(t, "kiln"), base(t, "busybox")
	const builds = 24
	var shared [builds]string
	var all sync.WaitGroup
	for i := range builds {
		dir := folder(t, "Dockerfile", fmt.Sprintf("FROM %s\nRUN : many; cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id; echo %d > /own\n", ref, i))
		all.Go(func() {
			out, err := exec.CommandContext(t.Context(), kiln, "--addr", d.Address, "build", "--progress=plain", dir).CombinedOutput()
			if err != nil {
				t.Errorf("build %d: %v\n%s", i, err, out)
			}
			shared[i] = readSteps(string(out)).output("cat /id;")
		})
	}
	all.Wait()
	for i, id := range shared {
		if len(id) < 36 || id != shared[0] {
			t.Errorf("build %d saw %q, build 0 saw %q", i, id, shared[0])
		}
	}
}

// TestRawJSON: every vertex of a second build is cached in the words that
// programs read.
func TestRawJSON(t *testing.T) {
	d := watch(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nCOPY a /\nRUN : rawjson; cat a\n", "a", "text\n")
	dockerfile(t, d, dir).ok(t)
	again := dockerfile(t, d, dir, "--progress=rawjson").ok(t)
	cached := map[string]bool{}
	for line := range strings.Lines(again.stderr) {
		var status struct {
			Vertexes []struct {
				Name   string
				Cached bool
			}
		}
		if err := json.Unmarshal([]byte(line), &status); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, v := range status.Vertexes {
			cached[v.Name] = cached[v.Name] || v.Cached
		}
	}
	steps := 0
	for name, ok := range cached {
		if strings.HasPrefix(name, "[internal]") || strings.HasPrefix(name, "exporting") {
			continue
		}
		if steps++; !ok {
			t.Errorf("%s was not cached", name)
		}
	}
	if steps != 3 {
		t.Errorf("steps: %v", cached)
	}
}

// TestMultiPlatform makes one index for two platforms, of which one cannot
// run here.
func TestMultiPlatform(t *testing.T) {
	d := watch(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox-multi")+"\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY a /\n", "a", "text\n")
	image := world.registry.Addr + "/platforms:test"
	dockerfile(t, d, dir, "--opt=platform=linux/amd64,linux/arm64", "--output=type=image,push=true,name="+image).ok(t)
	index := fetchManifest(t, image)
	found := map[string]bool{}
	for _, m := range index.Manifests {
		found[m.Platform.Architecture] = true
		config := run(t, "", nil, "skopeo", "inspect", "--tls-verify=false", "--config", "docker://"+world.registry.Addr+"/platforms@"+m.Digest).ok(t).stdout
		if want := `"ARCH=` + m.Platform.Architecture + `"`; !strings.Contains(config, want) {
			t.Errorf("configuration of %s has no %s: %s", m.Platform.Architecture, want, config)
		}
	}
	if len(index.Manifests) != 2 || !found["amd64"] || !found["arm64"] {
		t.Errorf("index %+v", index)
	}
	out := filepath.Join(t.TempDir(), "both.tar")
	dockerfile(t, d, dir, "--opt=platform=linux/amd64,linux/arm64", "--output=type=oci,dest="+out).ok(t)
	run(t, "", nil, "skopeo", "--insecure-policy", "copy", "--all", "oci-archive:"+out, "dir:"+t.TempDir()).ok(t)
}

// TestSecretsAndCaches: a secret reaches the step and stays out of the image,
// a cache mount lives on from build to build.
func TestSecretsAndCaches(t *testing.T) {
	d := watch(t)
	dir := folder(t, "secret", "hidden-words", "Dockerfile", fmt.Sprintf(`FROM %s
ARG N
RUN --mount=type=secret,id=s --mount=type=cache,id=%s,target=/c \
    echo $N: $(cat /run/secrets/s), $(cat /c/n 2>&1); echo $N > /c/n
`, base(t, "busybox"), t.Name()))
	for n, want := range []string{"0: hidden-words, cat: can't open '/c/n': No such file or directory", "1: hidden-words, 0", "2: hidden-words, 1"} {
		out := dockerfile(t, d, dir, fmt.Sprintf("--opt=build-arg:N=%d", n), "--secret=id=s,src="+filepath.Join(dir, "secret")).ok(t)
		if got := strings.TrimSpace(readSteps(out.stderr).output("--mount=type=secret")); got != want {
			t.Errorf("step printed %q, want %q", got, want)
		}
	}
	tar := filepath.Join(t.TempDir(), "out.tar")
	dockerfile(t, d, dir, "--opt=build-arg:N=2", "--secret=id=s,src="+filepath.Join(dir, "secret"), "--output=type=tar,dest="+tar).ok(t)
	if strings.Contains(read(t, tar), "hidden-words") {
		t.Error("the secret is in the image")
	}
}

// TestKiln builds the quickstart with this tree's own command line.
func TestKiln(t *testing.T) {
	d := watch(t)
	dir, args := quickstart(t)
	kiln := func(more ...string) outcome {
		options := []string{"--addr", d.Address, "build", "--progress=plain"}
		for _, a := range args {
			options = append(options, "--build-arg="+a)
		}
		return run(t, "", nil, own(t, "kiln"), append(append(options, more...), dir)...).ok(t)
	}
	image, out := world.registry.Addr+"/hello:kiln", t.TempDir()
	kiln("-t", image, "--push")
	if list := ctr(t, d, "images", "ls").ok(t).stdout; !strings.Contains(list, image) {
		t.Errorf("ctr does not see %s:\n%s", image, list)
	}
	again := kiln("--output=type=local,dest=" + filepath.Join(out, "rootfs"))
	if ran := readSteps(again.stderr).ran(); len(ran) != 0 {
		t.Errorf("second build ran %q", ran)
	}
	hello(t, filepath.Join(out, "rootfs"))
	checkArchives(t, out, kiln)
	hello(t, unpackImage(t, "docker://"+image))
}

// TestCtr: what a build made is an image like any other for containerd's own
// client, which exports and deletes it.
func TestCtr(t *testing.T) {
	d := watch(t)
	image := world.registry.Addr + "/ctr:test"
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN : ctr; echo text > /file\n")
	dockerfile(t, d, dir, "--output=type=image,unpack=true,name="+image).ok(t)
	if check := ctr(t, d, "images", "check", "name=="+image).ok(t).stdout; !strings.Contains(check, "complete") || !strings.Contains(check, "true") {
		t.Errorf("ctr images check:\n%s", check)
	}
	tar := filepath.Join(t.TempDir(), "image.tar")
	// Without --local ctr may close the file before it has taken the last bytes
	// of the transfer service's stream: it waits for the transfer only.
	ctr(t, d, "images", "export", "--local", tar, image).ok(t)
	if got := read(t, filepath.Join(unpackImage(t, "oci-archive:"+tar), "file")); got != "text\n" {
		t.Errorf("exported file says %q", got)
	}
	ctr(t, d, "images", "rm", "--sync", image).ok(t)
	// The cache has not lost anything by that.
	if ran := readSteps(dockerfile(t, d, dir).ok(t).stderr).ran(); len(ran) != 0 {
		t.Errorf("after deleting the image the build ran %q", ran)
	}
}
