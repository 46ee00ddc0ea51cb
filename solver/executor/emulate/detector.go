package emulate

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultMaxAge is how long answers are good for.
const DefaultMaxAge = 20 * time.Second

// Detector knows the platforms of this machine.
type Detector struct {
	maxAge time.Duration
	now    func() time.Time
	probe  func(ctx context.Context, arch string) bool
	// register makes a user namespace in which an emulator runs an architecture.
	register func(ctx context.Context, arch, emulator string) (*namespace, error)

	mu    sync.Mutex
	asked time.Time
	// list is nil before the first question.
	list []ocispecs.Platform
	// namespaces by architecture.
	namespaces map[string]*namespace
}

// New returns a Detector whose answers are good for maxAge; 0 stands for
// DefaultMaxAge, a negative one for ever.
func New(maxAge time.Duration) *Detector {
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	return &Detector{maxAge: maxAge, now: time.Now, probe: probe, register: register}
}

// Platforms returns what this machine runs without further ado, the native
// platform first. Callers must not change the list.
func (d *Detector) Platforms(ctx context.Context) []ocispecs.Platform {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list != nil && (d.maxAge < 0 || d.now().Sub(d.asked) < d.maxAge) {
		return d.list
	}
	own := native()
	list := []ocispecs.Platform{own}
	for _, level := range amd64Levels(own.Architecture) {
		list = append(list, ocispecs.Platform{OS: "linux", Architecture: "amd64", Variant: level})
	}
	for _, arch := range architectures {
		if arch != own.Architecture && d.probe(ctx, arch) {
			list = append(list, ocispecs.Platform{OS: "linux", Architecture: arch})
		}
	}
	// A processor or emulator of 32-bit ARM runs the older programs as well.
	if i := slices.IndexFunc(list, func(p ocispecs.Platform) bool { return p.Architecture == "arm" && p.Variant == "" }); i >= 0 {
		list[i].Variant = "v7"
		list = append(list, ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v6"})
	}
	if ctx.Err() == nil {
		d.list, d.asked = list, d.now()
	}
	return list
}

func native() ocispecs.Platform { return platforms.Normalize(platforms.DefaultSpec()) }

// Find returns the emulator that programs of a platform need in their
// container, "" if they run as they are. The error is errdefs NotFound if they
// cannot run.
func (d *Detector) Find(ctx context.Context, p ocispecs.Platform) (string, error) {
	p = platforms.Normalize(p)
	// Nearly always; nothing has to be asked for it.
	if platforms.OnlyStrict(native()).Match(p) {
		return "", nil
	}
	for _, have := range d.Platforms(ctx) {
		// An architecture may have others below it, which is not to say that
		// this processor has: those are in the list themselves.
		if have.Architecture == p.Architecture && platforms.Only(have).Match(p) {
			return "", nil
		}
	}
	if p.OS != "linux" {
		return "", fmt.Errorf("programs of %s cannot run on this machine: %w", platforms.Format(p), errdefs.ErrNotFound)
	}
	name := emulatorName(p.Architecture)
	for _, file := range []string{"buildkit-qemu-" + name, "kiln-qemu-" + name, "qemu-" + name + "-static"} {
		if path, err := exec.LookPath(file); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("programs of %s cannot run on this machine: the kernel has no interpreter for them and there is no "+
		"emulator in PATH; install qemu-user-static and binfmt-support (or run the image tonistiigi/binfmt), or put "+
		"buildkit-qemu-%s in PATH: %w", platforms.Format(p), name, errdefs.ErrNotFound)
}

// emulatorNames are QEMU's names where they differ from Go's.
var emulatorNames = map[string]string{"arm64": "aarch64", "amd64": "x86_64", "386": "i386", "loong64": "loongarch64", "mips64le": "mips64el"}

func emulatorName(arch string) string {
	if name, ok := emulatorNames[arch]; ok {
		return name
	}
	return arch
}
