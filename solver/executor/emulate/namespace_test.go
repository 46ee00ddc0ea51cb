package emulate

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/test/fixtures"
)

// TestRegister registers a real emulator where nobody else sees it.
func TestRegister(t *testing.T) {
	arch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	before := probe(t.Context(), arch)
	found, err := filepath.Glob(filepath.Join(fixtures.Emulator(t), "buildkit-qemu-*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	n, err := register(t.Context(), arch, found[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := n.close(); err != nil {
		t.Error(err)
	}
	if after := probe(t.Context(), arch); after != before {
		t.Errorf("the machine runs programs of %s: %v, before %v", arch, after, before)
	}
}

func TestRegisterRefused(t *testing.T) {
	for _, tt := range []struct{ arch, emulator, want string }{
		{"vax", "/bin/true", "vax"},
		{"arm64", "/bin:/true", "cannot be registered"},
		// What is registered must run the program.
		{"arm64", "/bin/false", "Linux 6.7"},
		{"arm64", "/nonexistent", "Linux 6.7"},
	} {
		if n, err := register(t.Context(), tt.arch, tt.emulator); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s by %s: %v, %v", tt.arch, tt.emulator, n, err)
		}
	}
}

// TestRegistration reads the line as the kernel does.
func TestRegistration(t *testing.T) {
	got := programs["arm64"].registration("arm64", "/usr/bin/qemu")
	field := strings.Split(got, ":")
	if len(field) != 8 || field[1] != "kiln-arm64" || field[6] != "/usr/bin/qemu" || field[7] != "FCP" {
		t.Fatalf("%q", got)
	}
	if want := `\x7f\x45\x4c\x46\x02\x01\x01` + strings.Repeat(`\x00`, 9) + `\x02\x00\xb7\x00`; field[4] != want {
		t.Errorf("magic %s, want %s", field[4], want)
	}
	if want := strings.Repeat(`\xff`, 7) + strings.Repeat(`\x00`, 9) + `\xfe\xff\xff\xff`; field[5] != want {
		t.Errorf("mask %s, want %s", field[5], want)
	}
	if got := programs["s390x"].registration("s390x", "/q"); !strings.Contains(got, `\xff\xfe\xff\xff:/q:`) {
		t.Errorf("%q", got)
	}
}

func TestInject(t *testing.T) {
	d, calls := New(0), 0
	fail := errors.New("no such kernel")
	d.register = func(context.Context, string, string) (*namespace, error) {
		calls++
		return nil, fail
	}
	p := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	for _, tt := range []struct {
		networks []specs.LinuxNamespace
		want     error
	}{
		{nil, fail},
		{[]specs.LinuxNamespace{{Type: specs.NetworkNamespace}}, fail},
		{[]specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: "/run/netns/x"}}, errdefs.ErrNotImplemented},
	} {
		s := &specs.Spec{Linux: &specs.Linux{Namespaces: tt.networks}, Mounts: []specs.Mount{{Destination: "/sys", Type: "sysfs"}}}
		err := d.Inject(t.Context(), p, "/usr/bin/qemu", s)
		if !errors.Is(err, tt.want) {
			t.Errorf("%v: %v", tt.networks, err)
		}
		if len(s.Mounts) != 1 || s.Mounts[0].Type != "sysfs" || s.Linux.UIDMappings != nil {
			t.Errorf("%v: changed although it failed: %+v", tt.networks, s)
		}
	}
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
