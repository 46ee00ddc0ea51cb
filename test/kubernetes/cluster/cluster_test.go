//go:build cluster

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// packaging returns the path of a file below packaging/kubernetes.
func packaging(t *testing.T, name string) string {
	t.Helper()
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(tree, "packaging/kubernetes", name)
}

// read returns the text of a manifest.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(packaging(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// accepted has the server take manifests, and count their objects.
func accepted(t *testing.T, text string, objects int) {
	t.Helper()
	out, err := dryRun(t, text)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := strings.Count(out, "(server dry run)"); n != objects {
		t.Errorf("%d objects, want %d:\n%s", n, objects, out)
	}
	if strings.Contains(out, "Warning") {
		t.Errorf("the server warns:\n%s", out)
	}
}

// TestManifests: the files that are applied as they are.
func TestManifests(t *testing.T) {
	for name, objects := range map[string]int{"deployment.yaml": 5, "statefulset.yaml": 4, "rootless.yaml": 4} {
		t.Run(name, func(t *testing.T) { accepted(t, read(t, name), objects) })
	}
	t.Run("make-certs.sh", func(t *testing.T) { accepted(t, output(t, packaging(t, "make-certs.sh"), "kiln", "*.kiln"), 2) })
}

// values are the sets of the chart's values that are tried, with the number of
// objects that come out.
var values = map[string]struct {
	set     []string
	objects int
}{
	"as it is":            {nil, 2},
	"certificates":        {[]string{"tls.secret=kiln-daemon-certs"}, 3},
	"statefulset":         {[]string{"mode=statefulset", "replicas=3", "tls.secret=s", "storage.class=fast", "storage.size=10Gi"}, 3},
	"rootless":            {[]string{"rootless=true", "tls.secret=s"}, 3},
	"rootless with disks": {[]string{"rootless=true", "mode=statefulset"}, 3},
	"autoscaling":         {[]string{"autoscaling.enabled=true", "autoscaling.maxReplicas=20", "parallelism=4", "tls.secret=s"}, 4},
	"closed network":      {[]string{"networkPolicy.enabled=true", "tls.secret=s", "networkPolicy.metrics[0].namespaceSelector.matchLabels.team=ops"}, 4},
	"shared cache":        {[]string{"cache.type=s3", "cache.s3.bucket=b", "cache.s3.region=r", "cache.s3.secret=keys"}, 2},
	"everything": {[]string{
		"config=[worker.oci]\n  gc = true\n", "tls.secret=s", "autoscaling.enabled=true", "args[0]=--log-format=json", "env[0].name=A", "env[0].value=b",
		"nodeSelector.disk=fast", "podAnnotations.a=b", "imagePullSecrets[0].name=p", "tolerations[0].key=k", "tolerations[0].operator=Exists",
		"resources.limits.memory=8Gi", "maxUnavailable=50%", "networkPolicy.enabled=true", "metrics.annotations=false",
	}, 6},
}

// helmArgs are a set of values as arguments.
func helmArgs(set []string) []string {
	var args []string
	for _, s := range set {
		args = append(args, "--set", s)
	}
	return args
}

// TestChart: the chart, rendered by the real helm.
func TestChart(t *testing.T) {
	chart := packaging(t, "chart")
	for name, tt := range values {
		t.Run(name, func(t *testing.T) {
			output(t, "helm", append([]string{"lint", "--strict", chart}, helmArgs(tt.set)...)...)
			accepted(t, output(t, "helm", append([]string{"template", "here", chart}, helmArgs(tt.set)...)...), tt.objects)
			if notes := output(t, "helm", append([]string{"install", "here", chart, "--dry-run=server"}, helmArgs(tt.set)...)...); !strings.Contains(notes, "kiln is on its way") {
				t.Errorf("no notes in\n%s", notes)
			}
		})
	}
}

// TestRejected: what people get wrong is told by the server, so that the tests
// above mean something.
func TestRejected(t *testing.T) {
	for name, tt := range map[string]struct{ file, old, new, want string }{
		"misspelled field":              {"deployment.yaml", "terminationGracePeriodSeconds:", "terminationGracePeriod:", `unknown field "spec.template.spec.terminationGracePeriod"`},
		"selector":                      {"deployment.yaml", "    metadata:\n      labels: {app: kiln}", "    metadata:\n      labels: {app: klin}", "`selector` does not match template `labels`"},
		"no such volume":                {"statefulset.yaml", "- {name: certs, mountPath", "- {name: cert, mountPath", `volumeMounts[0].name: Not found: "cert"`},
		"size":                          {"statefulset.yaml", "storage: 50Gi", "storage: 50GB of it", "quantities must match the regular expression"},
		"port twice":                    {"deployment.yaml", "{name: metrics, containerPort: 6060}", "{name: builds, containerPort: 6060}", "Duplicate value"},
		"privileged, but no escalation": {"deployment.yaml", "privileged: true", "privileged: true\n            allowPrivilegeEscalation: false", "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"},
		"no container's port":           {"statefulset.yaml", "{name: builds, port: 1234, targetPort: builds}", "{name: builds, port: 123456, targetPort: builds}", "must be between 1 and 65535"},
		"two budgets":                   {"deployment.yaml", "  maxUnavailable: 1", "  maxUnavailable: 1\n  minAvailable: 1", "minAvailable and maxUnavailable cannot be both set"},
		"fewer than least":              {"deployment.yaml", "maxReplicas: 8", "maxReplicas: 0", "maxReplicas"},
		"profile":                       {"rootless.yaml", "seccompProfile: {type: Unconfined}", "seccompProfile: {type: None}", "seccompProfile.type: Unsupported value"},
		"probe":                         {"deployment.yaml", "periodSeconds: 30", "periodSeconds: -30", "must be greater than or equal to 0"},
		"older API":                     {"deployment.yaml", "autoscaling/v2", "autoscaling/v2beta1", `no matches for kind "HorizontalPodAutoscaler" in version "autoscaling/v2beta1"`},
	} {
		t.Run(name, func(t *testing.T) {
			good := read(t, tt.file)
			bad := strings.Replace(good, tt.old, tt.new, 1)
			if bad == good {
				t.Fatalf("%s has no %q", tt.file, tt.old)
			}
			out, err := dryRun(t, bad)
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v, want %q:\n%s", err, tt.want, out)
			}
		})
	}
}
