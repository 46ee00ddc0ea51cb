package emulate

import (
	"bytes"
	"context"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestProgramsAreValid reads the programs as others would.
func TestProgramsAreValid(t *testing.T) {
	for _, arch := range architectures {
		p, ok := programs[arch]
		if !ok {
			t.Errorf("%s has no program", arch)
			continue
		}
		f, err := elf.NewFile(bytes.NewReader(p.elf()))
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		if uint16(f.Machine) != p.machine || (f.Class == elf.ELFCLASS64) != p.wide || len(f.Progs) != 1 {
			t.Errorf("%s: header %+v", arch, f.FileHeader)
			continue
		}
		code := make([]byte, len(p.code))
		if _, err = f.Progs[0].ReadAt(code, int64(f.Entry-f.Progs[0].Vaddr)); err != nil || !bytes.Equal(code, p.code) {
			t.Errorf("%s: code at the entry is %x (%v)", arch, code, err)
		}
	}
}

func TestProbe(t *testing.T) {
	if native := platforms.DefaultSpec().Architecture; !probe(t.Context(), native) {
		t.Errorf("%s does not run on itself", native)
	}
	if probe(t.Context(), "vax") {
		t.Error("vax runs")
	}
}

func TestPlatformsAreRemembered(t *testing.T) {
	now := time.Unix(1000, 0)
	var probes []string
	d := New(time.Minute)
	d.now = func() time.Time { return now }
	d.probe = func(_ context.Context, arch string) bool {
		probes = append(probes, arch)
		return arch == "arm" || arch == "s390x"
	}
	var formatted []string
	for _, p := range d.Platforms(t.Context()) {
		formatted = append(formatted, platforms.Format(p))
	}
	native := platforms.Format(platforms.Normalize(platforms.DefaultSpec()))
	if formatted[0] != native || !slices.Contains(formatted, "linux/arm/v7") || formatted[len(formatted)-1] != "linux/arm/v6" {
		t.Errorf("platforms %v", formatted)
	}
	if slices.Contains(probes, platforms.DefaultSpec().Architecture) {
		t.Error("the native architecture is probed")
	}
	asked := len(probes)
	d.Platforms(t.Context())
	if len(probes) != asked {
		t.Error("the answer is not remembered")
	}
	now = now.Add(2 * time.Minute)
	d.Platforms(t.Context())
	if len(probes) != 2*asked {
		t.Error("the answer is remembered for too long")
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	d := New(-1)
	d.probe = func(_ context.Context, arch string) bool { return arch == "arm" }
	find := func(name string) (string, error) {
		p, err := platforms.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		return d.Find(t.Context(), p)
	}
	for _, name := range []string{platforms.Format(platforms.DefaultSpec()), "linux/arm", "linux/arm/v6"} {
		if path, err := find(name); path != "" || err != nil {
			t.Errorf("%s needs %q (%v)", name, path, err)
		}
	}
	if _, err := find("linux/s390x"); !errdefs.IsNotFound(err) {
		t.Errorf("without an emulator: %v", err)
	}
	// 386 is below amd64, and does not run when it has not run.
	if path, err := find("linux/386"); platforms.DefaultSpec().Architecture == "amd64" && err == nil {
		t.Errorf("386 runs with %q", path)
	}
	var last string
	for _, file := range []string{"qemu-s390x-static", "kiln-qemu-s390x", "buildkit-qemu-s390x"} {
		last = filepath.Join(dir, file)
		if err := os.WriteFile(last, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		if path, err := find("linux/s390x"); path != last || err != nil {
			t.Errorf("with %s: %q (%v)", file, path, err)
		}
	}
	if _, err := d.Find(t.Context(), ocispecs.Platform{OS: "windows", Architecture: "s390x"}); !errdefs.IsNotFound(err) {
		t.Errorf("windows: %v", err)
	}
}
