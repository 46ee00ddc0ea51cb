package kubernetes_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

// functions are those of helm that the chart uses.
func functions(t *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b bytes.Buffer
			err := t.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"toYaml": func(v any) (string, error) {
			b, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"toJson": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"nindent": func(n int, s string) string {
			pad := "\n" + strings.Repeat(" ", n)
			return pad + strings.ReplaceAll(s, "\n", pad)
		},
		"default": func(d, v any) any {
			if v == nil || reflect.ValueOf(v).IsZero() {
				return d
			}
			return v
		},
		"ternary": func(yes, no any, which bool) any {
			if which {
				return yes
			}
			return no
		},
		"quote":      func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"list":       func(v ...any) []any { return v },
		"has":        func(v any, list []any) bool { return slices.Contains(list, v) },
		"fail":       func(s string) (string, error) { return "", errors.New(s) },
		"trunc":      func(n int, s string) string { return s[:min(n, len(s))] },
		"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"sha256sum":  func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) },
		"until": func(n int) []int {
			var out []int
			for i := range n {
				out = append(out, i)
			}
			return out
		},
		"int": number,
		"add": func(a, b any) int { return number(a) + number(b) },
	}
}

// number reads a number of a template or of a values file.
func number(v any) int {
	if f, ok := v.(float64); ok {
		return int(f)
	}
	return v.(int)
}

// merge puts changes over values, as helm does.
func merge(values, changes map[string]any) map[string]any {
	out := maps.Clone(values)
	for k, v := range changes {
		if below, ok := v.(map[string]any); ok {
			if old, ok := out[k].(map[string]any); ok {
				v = merge(old, below)
			}
		}
		out[k] = v
	}
	return out
}

// render makes the chart's manifests.
func render(t *testing.T, changes map[string]any) (string, error) {
	t.Helper()
	dir := packaging(t, "kubernetes/chart")
	var values, chart map[string]any
	load(t, filepath.Join(dir, "values.yaml"), &values)
	load(t, filepath.Join(dir, "Chart.yaml"), &chart)
	about := map[string]any{}
	for k, v := range chart {
		about[strings.ToUpper(k[:1])+k[1:]] = v
	}
	root := template.New("chart").Option("missingkey=error")
	root.Funcs(functions(root))
	files, err := filepath.Glob(filepath.Join(dir, "templates/*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	if _, err := root.ParseFiles(files...); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{
		"Values": merge(values, changes), "Chart": about,
		"Release": map[string]any{"Name": "here", "Service": "Helm"},
	}
	var all []string
	for _, f := range files {
		// helm prints the notes; here they are comments of what is applied.
		notes := filepath.Base(f) == "NOTES.txt"
		if filepath.Ext(f) != ".yaml" && !notes {
			continue
		}
		var b bytes.Buffer
		if err := root.ExecuteTemplate(&b, filepath.Base(f), data); err != nil {
			return "", err
		}
		text := b.String()
		if notes {
			text = "# " + strings.ReplaceAll(text, "\n", "\n# ")
		}
		all = append(all, text)
	}
	return strings.Join(all, "\n---\n"), nil
}

// TestChart renders the chart in every form.
func TestChart(t *testing.T) {
	for name, tt := range map[string]struct {
		changes map[string]any
		// kinds are of what comes out, want are in its text.
		kinds []string
		want  []string
	}{
		"as it is": {nil, []string{"Deployment", "PodDisruptionBudget"}, []string{"automountServiceAccountToken: false", "--addr kube-pod://", "/var/lib/buildkit", "privileged: true", "--drain=540s"}},
		"stateful": {
			map[string]any{"mode": "statefulset", "replicas": 3, "storage": map[string]any{"class": "fast"}, "tls": map[string]any{"secret": "s"}},
			[]string{"PodDisruptionBudget", "Service", "StatefulSet"},
			[]string{"--tlscacert=/certs/ca.crt", "storageClassName: fast", "--addr tcp://here-0.here:1234,tcp://here-1.here:1234,tcp://here-2.here:1234 build"},
		},
		"rootless": {
			map[string]any{"rootless": true, "mode": "statefulset", "maxUnavailable": nil}, []string{"Service", "StatefulSet"},
			[]string{"registry.example/kiln:rootless", "--oci-worker-no-process-sandbox", "/home/user/.local/share/buildkit"},
		},
		"everything": {
			map[string]any{
				"config": "[worker.oci]\n  gc = true\n", "tls": map[string]any{"secret": "s"}, "autoscaling": map[string]any{"enabled": true},
				"parallelism": 4, "networkPolicy": map[string]any{"enabled": true, "metrics": []any{map[string]any{"podSelector": map[string]any{}}}},
				"cache": map[string]any{"type": "s3", "s3": map[string]any{"bucket": "b", "region": "r", "endpoint": "http://s3", "secret": "keys"}},
				"args":  []any{"--log-format=json"}, "env": []any{map[string]any{"name": "A", "value": "b"}},
				"nodeSelector": map[string]any{"disk": "fast"}, "podAnnotations": map[string]any{"a": "b"},
				"imagePullSecrets": []any{map[string]any{"name": "p"}}, "tolerations": []any{map[string]any{"key": "k", "operator": "Exists"}},
			},
			[]string{"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"},
			[]string{
				"--config=/config/buildkitd.toml", "--log-format=json", "--oci-max-parallelism=4", "kiln_steps_waiting", "secretRef: {name: keys}",
				"--import-cache type=s3,bucket=b,region=r,endpoint_url=http://s3,use_path_style=true",
			},
		},
		"registry cache": {
			map[string]any{"cache": map[string]any{"type": "registry", "registry": map[string]any{"ref": "r.example/cache"}}},
			[]string{"Deployment", "PodDisruptionBudget"}, []string{"--export-cache type=registry,ref=r.example/cache,mode=max"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, tt.changes)
			if err != nil {
				t.Fatal(err)
			}
			if got := check(t, text); !slices.Equal(got, tt.kinds) {
				t.Errorf("kinds %q, want %q", got, tt.kinds)
			}
			for _, w := range tt.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in\n%s", w, text)
				}
			}
		})
	}
	if _, err := render(t, map[string]any{"cache": map[string]any{"type": "disk"}}); err == nil || !strings.Contains(err.Error(), "use registry or s3") {
		t.Errorf("a wrong cache gives %v", err)
	}
	if _, err := render(t, map[string]any{"mode": "daemonset"}); err == nil || !strings.Contains(err.Error(), "use deployment or statefulset") {
		t.Errorf("a wrong mode gives %v", err)
	}
}
