//go:build cluster

package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// definition is the schema of one type.
type definition map[string]any

// kindOf is what a schema says that it is the schema of.
type kindOf struct {
	Group, Kind, Version string
}

// schemas writes the schema of every kind that the server has, from its own
// description, where kubeconform looks for it. Unknown fields are errors.
func schemas(t *testing.T) string {
	t.Helper()
	var swagger struct {
		Definitions map[string]definition `json:"definitions"`
	}
	if err := json.Unmarshal([]byte(output(t, "kubectl", "get", "--raw", "/openapi/v2")), &swagger); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, d := range swagger.Definitions {
		if d["properties"] != nil && d["additionalProperties"] == nil {
			d["additionalProperties"] = false
		}
		if d["format"] == "int-or-string" {
			swagger.Definitions[name] = definition{"type": []string{"string", "integer"}}
		}
	}
	all := filepath.Join(dir, "all.json")
	write(t, all, map[string]any{"definitions": swagger.Definitions})
	n := 0
	for name, d := range swagger.Definitions {
		text, err := json.Marshal(d["x-kubernetes-group-version-kind"])
		if err != nil {
			t.Fatal(err)
		}
		var kinds []kindOf
		if json.Unmarshal(text, &kinds) != nil {
			continue
		}
		for _, k := range kinds {
			group, _, _ := strings.Cut(k.Group, ".")
			file := strings.ToLower(k.Kind) + "-" + k.Version
			if group != "" {
				file = strings.ToLower(k.Kind) + "-" + group + "-" + k.Version
			}
			write(t, filepath.Join(dir, file+".json"), map[string]any{"$ref": "all.json#/definitions/" + name})
			n++
		}
	}
	if n < 50 {
		t.Fatalf("the server describes %d kinds", n)
	}
	return filepath.Join(dir, "{{ .ResourceKind }}{{ .KindSuffix }}.json")
}

// write writes JSON.
func write(t *testing.T, path string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSchemas: kubeconform, with the server's own schemas, agrees.
func TestSchemas(t *testing.T) {
	location := schemas(t)
	conform := func(text string) (string, error) {
		cmd := command(t.Context(), "kubeconform", "-strict", "-summary", "-schema-location", location, "-")
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	texts := map[string]string{}
	for _, name := range []string{"deployment.yaml", "statefulset.yaml", "rootless.yaml"} {
		texts[name] = read(t, name)
	}
	for name, tt := range values {
		texts[name] = output(t, "helm", append([]string{"template", "here", packaging(t, "chart")}, helmArgs(tt.set)...)...)
	}
	for name, text := range texts {
		if out, err := conform(text); err != nil || !strings.Contains(out, "Invalid: 0, Errors: 0, Skipped: 0") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	bad := strings.Replace(texts["deployment.yaml"], "replicas: 1", "replicas: one", 1)
	if out, err := conform(bad); err == nil || !strings.Contains(out, "/spec/replicas") {
		t.Errorf("a word for a number: %v\n%s", err, out)
	}
}
