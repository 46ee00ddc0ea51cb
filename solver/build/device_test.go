package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/executor/cdi"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

const specification = `
cdiVersion: "0.6.0"
kind: "acme.example/gpu"
devices:
- name: a
  containerEdits: {env: ["A=1"]}
- name: b
  containerEdits: {env: ["B=1"]}
- name: free
  annotations:
    org.mobyproject.buildkit.device.autoallow: "true"
  containerEdits: {env: ["FREE=1"]}
`

func TestAdmitDevices(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "acme.yaml"), []byte(specification), 0o600); err != nil {
		t.Fatal(err)
	}
	registry, err := cdi.New(cdi.Config{SpecDirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		granted []string
		want    []string
		got     string // admitted, or part of the error
	}{
		"free":           {nil, []string{"acme.example/gpu=free"}, "acme.example/gpu=free"},
		"not granted":    {nil, []string{"acme.example/gpu=a"}, "device acme.example/gpu=a is requested by the build but not allowed"},
		"several":        {nil, []string{"acme.example/gpu=*"}, "devices acme.example/gpu=a, acme.example/gpu=b are requested"},
		"all":            {[]string{"device"}, []string{"acme.example/gpu=*"}, "acme.example/gpu=a acme.example/gpu=b acme.example/gpu=free"},
		"by name":        {[]string{"network.host", "device=acme.example/gpu=a"}, []string{"acme.example/gpu=a", "acme.example/gpu"}, "acme.example/gpu=a"},
		"by kind":        {[]string{"device=acme.example/gpu"}, []string{"acme.example/gpu"}, "acme.example/gpu=a"},
		"another":        {[]string{"device=acme.example/gpu=a"}, []string{"acme.example/gpu=b"}, "device acme.example/gpu=b is requested"},
		"alias":          {[]string{"device=acme.example/gpu=b,alias=mine"}, []string{"mine"}, "acme.example/gpu=b"},
		"alias only":     {[]string{"device=acme.example/gpu=b,alias=mine"}, []string{"acme.example/gpu=b"}, "not allowed"},
		"missing":        {[]string{"device"}, []string{"acme.example/gpu=none"}, `required device "acme.example/gpu=none" is not registered`},
		"optional":       {nil, []string{"?none"}, ""},
		"granted absent": {[]string{"device=none"}, []string{"acme.example/gpu=free"}, "acme.example/gpu=free"},
	} {
		granted, err := grantedDevices(tt.granted)
		if err != nil {
			t.Fatal(err)
		}
		j := &job{builder: &Builder{cfg: Config{Devices: registry}}, devices: granted}
		op := &pb.ExecOp{}
		for _, w := range tt.want {
			w, optional := strings.CutPrefix(w, "?")
			op.CdiDevices = append(op.CdiDevices, &pb.CDIDevice{Name: w, Optional: optional})
		}
		var got []string
		if err := j.admitDevices(op); err != nil {
			if !strings.Contains(err.Error(), tt.got) || tt.got == "" {
				t.Errorf("%s: %v, want %q", name, err, tt.got)
			}
			continue
		}
		for _, d := range op.CdiDevices {
			got = append(got, d.Name)
		}
		if strings.Join(got, " ") != tt.got {
			t.Errorf("%s: %q, want %q", name, got, tt.got)
		}
	}
}

func FuzzGrantedDevices(f *testing.F) {
	for _, s := range []string{"device", "device=", "device=a/b=c", "device=a/b=c,alias=x", "device=a,b", "device=\"a,alias=b", "device=,alias=", "devices"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, e string) {
		d, err := grantedDevices([]string{e})
		if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: kind of error %v", e, err)
		}
		if d.all && !strings.HasPrefix(e, "device") {
			t.Errorf("%q grants everything", e)
		}
	})
}
