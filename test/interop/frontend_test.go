package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// packFrontend has the daemon build the image of the Dockerfile frontend, from
// the definition that users have, and pushes it.
func packFrontend(t *testing.T, d *daemon.Daemon) string {
	t.Helper()
	// The image has no libraries.
	t.Setenv("CGO_ENABLED", "0")
	program, err := os.ReadFile(own(t, "kiln-dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kiln-dockerfile"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	ref := world.registry.Addr + "/kiln-dockerfile:test"
	buildctl(t, d, "build", "--progress=plain", "--frontend=dockerfile.v0", "--opt=target=packed", "--local=context="+dir,
		"--local=dockerfile="+filepath.Join(tree, "cmd/kiln-dockerfile"), "--output=type=image,push=true,name="+ref).ok(t)
	return ref
}

// TestFrontendImage builds the frontend's image, then builds by it.
func TestFrontendImage(t *testing.T) {
	d := watch(t)
	ref := packFrontend(t, d)
	from := "# syntax=" + ref + "\nFROM " + base(t, "busybox") + "\n"
	dir := folder(t, "Dockerfile", from+"ARG WHO\nCOPY a /\nRUN echo built by $WHO; cat /a\n", "a", "text\n")
	said := readSteps(dockerfile(t, d, dir, "--opt=build-arg:WHO=image").ok(t).stderr)
	if said.find("resolve image config for docker-image://"+ref) == "" {
		t.Errorf("no frontend image among %v", said.name)
	}
	if got := said.output("built by"); got != "built by image\ntext\n" {
		t.Errorf("the step said %q", got)
	}
	// Errors keep the place they come from, across the bridge.
	dockerfile(t, d, folder(t, "Dockerfile", from+"RUN exit 7\n")).failed(t, "Dockerfile:3", "exit code: 7")
	dockerfile(t, d, folder(t, "Dockerfile", from+"NONE\n")).failed(t, "Dockerfile:3", "unknown instruction: NONE")
	// The frontend may be named by the client, and itself by a context.
	out := buildctl(t, d, "build", "--progress=plain", "--frontend=gateway.v0", "--opt=source=some/frontend",
		"--opt=context:some/frontend=docker-image://"+ref, "--opt=build-arg:WHO=context", "--opt=cmdline=some/frontend",
		"--local=context="+dir, "--local=dockerfile="+dir).ok(t)
	if got := readSteps(out.stderr).output("built by"); !strings.HasPrefix(got, "built by context\n") {
		t.Errorf("the step said %q", got)
	}
}

// TestFrontendImageFails runs programs that are no frontends.
func TestFrontendImageFails(t *testing.T) {
	d := watch(t)
	for name, test := range map[string]struct {
		program string
		opts    []string
		want    []string
	}{
		"crash":      {`["sh", "-c", "echo out of paper >&2; exit 3"]`, nil, []string{"exit code: 3", "out of paper"}},
		"silence":    {`["true"]`, nil, []string{"no result for incomplete build"}},
		"no program": {`["/none"]`, nil, []string{"/none"}},
		"capability": {`["true"]`, []string{"--opt=frontend.caps=moby.buildkit.frontend.gifts"}, []string{"moby.buildkit.frontend.gifts"}},
		"devel":      {`["true"]`, []string{"--opt=gateway-devel=1"}, []string{"development gateway is no longer supported"}},
	} {
		t.Run(name, func(t *testing.T) {
			ref := world.registry.Addr + "/broken:" + strings.ReplaceAll(name, " ", "-")
			dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nENTRYPOINT "+test.program+"\n")
			dockerfile(t, d, dir, "--output=type=image,push=true,name="+ref).ok(t)
			args := append([]string{"build", "--progress=plain", "--frontend=gateway.v0", "--opt=source=" + ref}, test.opts...)
			buildctl(t, d, args...).failed(t, test.want...)
		})
	}
}

// TestFrontendImageRefused asks for an image that the operator does not allow.
func TestFrontendImageRefused(t *testing.T) {
	file := filepath.Join(folder(t, "kilnd.toml", "[frontend.\"gateway.v0\"]\nallowedRepositories = [\"example.com/good\"]\n"), "kilnd.toml")
	d := fresh(t, daemon.Config{Args: []string{"--config", file}})
	buildctl(t, d, "build", "--progress=plain", "--frontend=gateway.v0", "--opt=source=example.com/bad:1").
		failed(t, "'example.com/bad:1' is not an allowed gateway source")
}
