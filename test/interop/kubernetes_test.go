package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"

	"github.com/kilnbuild/kiln/test/daemon"
)

// instruction finds instructions of a Dockerfile that say what an image is.
var instruction = regexp.MustCompile(`(?m)^(FROM \S+ AS|VOLUME|ENTRYPOINT|USER) (.*)$`)

// imageOf reads what a stage of kiln's image says of itself.
func imageOf(t *testing.T, stage string) map[string]string {
	t.Helper()
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	found, in := map[string]string{}, false
	for _, m := range instruction.FindAllStringSubmatch(read(t, filepath.Join(tree, "packaging/image/Dockerfile")), -1) {
		if strings.HasPrefix(m[1], "FROM") {
			in = m[2] == stage
		} else if in {
			found[m[1]] = m[2]
		}
	}
	return found
}

// expects holds a pod that buildx makes against kiln's image.
func expects(t *testing.T, p *pods, stage string) {
	t.Helper()
	image, c := imageOf(t, stage), p.pod.Spec.Containers[0]
	if len(c.Command) != 0 || !strings.Contains(image["ENTRYPOINT"], "buildkitd") {
		t.Errorf("command %q, the entry point is %s", c.Command, image["ENTRYPOINT"])
	}
	help, err := exec.CommandContext(t.Context(), own(t, "kilnd"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range c.Args {
		if flag, _, _ := strings.Cut(arg, "="); strings.HasPrefix(flag, "--") && !strings.Contains(string(help), flag+" ") {
			t.Errorf("kilnd has no flag %s", flag)
		}
	}
	for _, m := range c.VolumeMounts {
		if m.MountPath != image["VOLUME"] && !strings.HasPrefix(m.MountPath, "/etc/buildkit") {
			t.Errorf("a volume at %s, the image has %s", m.MountPath, image["VOLUME"])
		}
	}
	for _, probe := range []*core.Probe{c.ReadinessProbe, c.LivenessProbe} {
		if probe == nil || probe.Exec == nil {
			t.Fatalf("probe %+v", probe)
		}
		if out, err := p.command(t.Context(), probe.Exec.Command).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", probe.Exec.Command, err, out)
		}
	}
}

// TestBuildxKubernetes builds with buildx's kubernetes driver in each of its
// forms. The cluster is played; what the driver asks of it, and of kiln's image,
// is its own.
func TestBuildxKubernetes(t *testing.T) {
	for name, tt := range map[string]struct {
		opts  []string
		stage string
	}{
		"deployment":  {nil, "root"},
		"statefulset": {[]string{"--driver-opt=persistent-volume-claim.requests.storage=1Gi"}, "root"},
		"rootless":    {[]string{"--driver-opt=rootless=true"}, "rootless"},
	} {
		t.Run(name, func(t *testing.T) {
			p, kubeconfig := newPods(t)
			b := buildx{t, []string{"DOCKER_CONFIG=" + t.TempDir(), "KUBECONFIG=" + kubeconfig, "BUILDX_BUILDER=", "BUILDX_NO_DEFAULT_LOAD=1",
				"DOCKER_HOST=unix:///nonexistent"}}
			b.run(append([]string{"create", "--name=kube", "--driver=kubernetes", "--use", "--driver-opt=image=registry.example/kiln"}, tt.opts...)...).ok(t)
			if out := b.run("inspect", "--bootstrap").ok(t).stdout; !strings.Contains(out, "running") || !strings.Contains(out, "worker.snapshotter") {
				t.Fatalf("inspect says\n%s", out)
			}
			expects(t, p, tt.stage)
			if tt.stage == "rootless" && !slices.Contains(p.pod.Spec.Containers[0].Args, "--oci-worker-no-process-sandbox") {
				t.Errorf("arguments %q", p.pod.Spec.Containers[0].Args)
			}
			out := t.TempDir()
			b.run("build", "--output="+out, folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo built > /f\nFROM scratch\nCOPY --from=0 /f /\n")).ok(t)
			if text, err := os.ReadFile(filepath.Join(out, "f")); err != nil || string(text) != "built\n" {
				t.Errorf("%q, %v", text, err)
			}
			b.run("rm", "kube").ok(t)
			if len(p.objects) != 0 {
				t.Errorf("%d objects are left", len(p.objects))
			}
		})
	}
}
