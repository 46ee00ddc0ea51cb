package cdi_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/cdi"
)

const acme = `
cdiVersion: "0.6.0"
kind: "acme.example/gpu"
annotations:
  site: lab
containerEdits:
  env: ["GPU_DRIVER=1"]
devices:
- name: b
  annotations:
    org.mobyproject.buildkit.device.class: fast
    org.mobyproject.buildkit.device.autoallow: "true"
  containerEdits:
    env: ["GPU_B=1"]
- name: a
  annotations:
    org.mobyproject.buildkit.device.class: fast
  containerEdits:
    env: ["GPU_A=1"]
    deviceNodes:
    - path: /dev/null
      hostPath: /dev/null
`

const other = `{"cdiVersion": "0.6.0", "kind": "other.example/net", "devices": [{"name": "x", "containerEdits": {"env": ["NET=x"]}}]}`

func registry(t *testing.T, allowed ...string) (*cdi.Registry, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := cdi.New(cdi.Config{SpecDirs: []string{filepath.Join(dir, "none"), dir}, AutoAllowed: allowed})
	if err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(list []cdi.Device) []string {
	var out []string
	for _, d := range list {
		out = append(out, d.Name)
	}
	return out
}

func TestListFollowsTheFiles(t *testing.T) {
	r, dir := registry(t, "other.example/net")
	if got := r.List(); len(got) != 0 {
		t.Errorf("devices out of nowhere: %v", got)
	}
	write(t, filepath.Join(dir, "acme.yaml"), acme)
	write(t, filepath.Join(dir, "other.json"), other)
	write(t, filepath.Join(dir, "broken.json"), "{")
	got := r.List()
	if want := []string{"acme.example/gpu=a", "acme.example/gpu=b", "other.example/net=x"}; !slices.Equal(names(got), want) {
		t.Fatalf("devices %v, want %v", names(got), want)
	}
	if got[0].AutoAllow || !got[1].AutoAllow || !got[2].AutoAllow || got[0].Annotations["site"] != "lab" {
		t.Errorf("devices %+v", got)
	}
	if r.Problems() == nil {
		t.Error("nothing is said about the broken file")
	}
	if err := os.Remove(filepath.Join(dir, "acme.yaml")); err != nil {
		t.Fatal(err)
	}
	if got := r.List(); len(got) != 1 {
		t.Errorf("devices %v after their file went", names(got))
	}
}

func TestFind(t *testing.T) {
	r, dir := registry(t)
	write(t, filepath.Join(dir, "acme.yaml"), acme)
	for request, want := range map[string][]string{
		"acme.example/gpu":    {"acme.example/gpu=a"},
		"acme.example/gpu=b":  {"acme.example/gpu=b"},
		"acme.example/gpu=*":  {"acme.example/gpu=a", "acme.example/gpu=b"},
		"fast":                {"acme.example/gpu=a", "acme.example/gpu=b"},
		"acme.example/gpu=no": nil,
		"acme.example/gp":     nil,
		"slow":                nil,
		"":                    nil,
		"=":                   nil,
		"*":                   nil,
	} {
		if got := names(r.Find(request)); !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v", request, got, want)
		}
	}
}

func TestInject(t *testing.T) {
	r, dir := registry(t)
	write(t, filepath.Join(dir, "acme.yaml"), acme)
	spec := &specs.Spec{Process: &specs.Process{Env: []string{"A=1"}}}
	err := r.Inject(spec, []executor.Device{{Name: "fast"}, {Name: "acme.example/gpu"}, {Name: "none.example/x", Optional: true}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"A=1", "GPU_DRIVER=1", "GPU_A=1", "GPU_B=1"}; !slices.Equal(spec.Process.Env, want) {
		t.Errorf("environment %v, want %v", spec.Process.Env, want)
	}
	if spec.Linux == nil || len(spec.Linux.Devices) != 1 || spec.Linux.Devices[0].Path != "/dev/null" {
		t.Errorf("device nodes %+v", spec.Linux)
	}
	if err := r.Inject(spec, []executor.Device{{Name: "none.example/x"}}); !errdefs.IsNotFound(err) {
		t.Errorf("a missing device gives %v", err)
	}
	var none *cdi.Registry
	if err := none.Inject(spec, []executor.Device{{Name: "x", Optional: true}}); err != nil {
		t.Error(err)
	}
	if err := none.Inject(spec, []executor.Device{{Name: "fast"}}); !errdefs.IsNotFound(err) {
		t.Errorf("without devices: %v", err)
	}
}
