package kubernetes_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/kilnbuild/kiln/test/daemon"
)

// packaging returns the path of a file below packaging/.
func packaging(t *testing.T, name string) string {
	t.Helper()
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(tree, "packaging", name)
}

// load reads a YAML file.
func load(t *testing.T, path string, to any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// separator is what documents of a file are divided by.
var separator = regexp.MustCompile(`(?m)^---\s*$`)

// check decodes every document strictly and looks at what it refers to. It
// returns the kinds, sorted.
func check(t *testing.T, text string) []string {
	t.Helper()
	var kinds []string
	for _, doc := range separator.Split(text, -1) {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if head.Kind == "" {
			continue // comments only
		}
		kinds = append(kinds, head.Kind)
		var object any
		switch head.APIVersion + " " + head.Kind {
		case "apps/v1 Deployment":
			object = &apps.Deployment{}
		case "apps/v1 StatefulSet":
			object = &apps.StatefulSet{}
		case "v1 Service":
			object = &core.Service{}
		case "v1 Secret":
			object = &core.Secret{}
		case "v1 ConfigMap":
			object = &core.ConfigMap{}
		case "networking.k8s.io/v1 NetworkPolicy":
			object = &networking.NetworkPolicy{}
		case "policy/v1 PodDisruptionBudget":
			object = &policy.PodDisruptionBudget{}
		case "autoscaling/v2 HorizontalPodAutoscaler":
			object = &autoscaling.HorizontalPodAutoscaler{}
		default:
			t.Fatalf("%s %s is not expected", head.APIVersion, head.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Errorf("%s: %v in\n%s", head.Kind, err, doc)
		}
		switch o := object.(type) {
		case *apps.Deployment:
			checkPod(t, &o.Spec.Template, o.Spec.Selector.MatchLabels, nil)
		case *apps.StatefulSet:
			if o.Spec.ServiceName != o.Name {
				t.Errorf("service %q is not %q", o.Spec.ServiceName, o.Name)
			}
			checkPod(t, &o.Spec.Template, o.Spec.Selector.MatchLabels, o.Spec.VolumeClaimTemplates)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// checkPod looks for what the API server, or buildx, would not find.
func checkPod(t *testing.T, pod *core.PodTemplateSpec, selector map[string]string, claims []core.PersistentVolumeClaim) {
	t.Helper()
	for k, v := range selector {
		if pod.Labels[k] != v {
			t.Errorf("label %s is %q, the selector wants %q", k, pod.Labels[k], v)
		}
	}
	c := pod.Spec.Containers[0]
	if c.Name != "buildkitd" {
		t.Errorf("container %q is not buildx's", c.Name)
	}
	for _, p := range []*core.Probe{c.ReadinessProbe, c.LivenessProbe} {
		if p == nil || p.Exec == nil || !slices.Equal(p.Exec.Command, []string{"buildctl", "debug", "workers"}) {
			t.Errorf("probe %+v", p)
		}
	}
	var volumes []string
	for _, v := range pod.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, claim := range claims {
		volumes = append(volumes, claim.Name)
	}
	var paths []string
	for _, m := range c.VolumeMounts {
		paths = append(paths, m.MountPath)
		if !slices.Contains(volumes, m.Name) {
			t.Errorf("volume %q is not among %q", m.Name, volumes)
		}
	}
	if len(volumes) != len(paths) {
		t.Errorf("volumes %q are mounted at %q", volumes, paths)
	}
	for _, arg := range c.Args {
		if _, path, ok := strings.Cut(arg, "=/"); ok && !slices.Contains(paths, filepath.Dir("/"+path)) {
			t.Errorf("%s is on no volume", arg)
		}
	}
	checkFlags(t, c.Args)
}

// checkFlags has the daemon's own help know the flags.
func checkFlags(t *testing.T, args []string) {
	t.Helper()
	kilnd, err := daemon.Program(t.Context(), "kilnd")
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.CommandContext(t.Context(), kilnd, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range args {
		if flag, _, _ := strings.Cut(arg, "="); !strings.Contains(string(help), flag+" ") {
			t.Errorf("kilnd has no flag %s", flag)
		}
	}
}

// TestManifests checks the files that are applied as they are.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob(packaging(t, "kubernetes/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			check(t, string(text))
		})
	}
}

// TestCertificates: the script makes secrets whose certificates hold for the
// names it is given.
func TestCertificates(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), packaging(t, "kubernetes/make-certs.sh"), "kiln", "*.kiln").Output()
	if err != nil {
		t.Fatal(err)
	}
	if kinds := check(t, string(out)); !slices.Equal(kinds, []string{"Secret", "Secret"}) {
		t.Fatalf("kinds %q", kinds)
	}
	daemonSecret := separator.Split(string(out), -1)[1]
	var secret core.Secret
	if err := yaml.UnmarshalStrict([]byte(daemonSecret), &secret); err != nil {
		t.Fatal(err)
	}
	verify(t, secret.Data, "kiln-0.kiln")
}

// TestDashboard: every panel asks for metrics that kilnd has.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(packaging(t, "grafana/kiln.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	known := metricNames(t)
	name := regexp.MustCompile(`(?:kiln|buildkit|go|process)_[a-z_]+`)
	asked := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			for _, n := range name.FindAllString(target.Expr, -1) {
				asked++
				if !slices.Contains(known, strings.TrimSuffix(n, "_bucket")) {
					t.Errorf("panel %q: no metric %s among %q", p.Title, n, known)
				}
			}
		}
	}
	if asked < len(board.Panels) || board.Title == "" {
		t.Errorf("%d metrics in %d panels of %q", asked, len(board.Panels), board.Title)
	}
}

// TestDocumentedMetrics: the page about Kubernetes names metrics that kilnd has.
func TestDocumentedMetrics(t *testing.T) {
	text, err := os.ReadFile(packaging(t, "../docs/kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := metricNames(t)
	names := regexp.MustCompile(`kiln_[a-z_]+`).FindAllString(string(text), -1)
	for _, n := range names {
		if !slices.Contains(known, n) {
			t.Errorf("no metric %s among %q", n, known)
		}
	}
	if len(names) == 0 {
		t.Error("the page names no metric")
	}
}
