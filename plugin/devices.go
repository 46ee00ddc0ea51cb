package plugin

import (
	"context"
	"slices"

	"github.com/containerd/log"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/executor/cdi"
	"github.com/kilnbuild/kiln/solver/executor/emulate"
)

// machine is what steps can have of the machine beside its files.
type machine struct {
	// devices is nil if they are turned off.
	devices   *cdi.Registry
	emulators *emulate.Detector
	// entitlements are those of the configuration, and devices: which of them
	// a build may use, it says itself.
	entitlements []string
}

// specDirs are where specifications of devices are by default.
var specDirs = []string{"/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"}

func newMachine(ctx context.Context, cfg *config.Config) (*machine, error) {
	m := &machine{entitlements: slices.Clone(cfg.Entitlements)}
	if off := cfg.CDI.Disabled; off == nil || !*off {
		dirs := cfg.CDI.SpecDirs
		if len(dirs) == 0 {
			dirs = specDirs
		}
		var err error
		if m.devices, err = cdi.New(cdi.Config{SpecDirs: dirs, AutoAllowed: cfg.CDI.AutoAllowed}); err != nil {
			return nil, err
		}
		if err := m.devices.Problems(); err != nil {
			log.G(ctx).WithError(err).Warn("some device specifications cannot be read")
		}
		m.entitlements = append(m.entitlements, build.EntitlementDevice)
	}
	var age config.Duration
	if s := cfg.System; s != nil && s.PlatformsCacheMaxAge != nil {
		age = *s.PlatformsCacheMaxAge
	}
	m.emulators = emulate.New(age.Duration)
	return m, nil
}

// platforms returns how to list what the worker runs; nil if the configuration
// says it once and for all.
func (m *machine) platforms(ctx context.Context, cfg *config.Config) func() []ocispecs.Platform {
	if len(cfg.Workers.OCI.Platforms) > 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	return func() []ocispecs.Platform { return m.emulators.Platforms(ctx) }
}
