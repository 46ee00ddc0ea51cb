package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	csvvalue "github.com/tonistiigi/go-csvvalue"

	"github.com/kilnbuild/kiln/solver/executor/cdi"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// devices are what a build may use beside what every build may.
type devices struct {
	// all lets it use everything.
	all bool
	// names are requests, as in LLB, for what it may use.
	names []string
	// aliases are names of the build's own for requests that it may use.
	aliases map[string]string
}

// grantedDevices reads entitlements of the form device, device=<request> and
// device=<request>,alias=<name>. Others are not for devices.
func grantedDevices(asked []string) (devices, error) {
	out := devices{aliases: map[string]string{}}
	for _, e := range asked {
		name, config, configured := strings.Cut(e, "=")
		if name != EntitlementDevice {
			continue
		}
		if !configured || config == "" {
			out.all = true
			continue
		}
		if err := out.read(config); err != nil {
			return devices{}, fmt.Errorf("entitlement %s: %w", e, err)
		}
	}
	return out, nil
}

func (d *devices) read(config string) error {
	fields, err := csvvalue.Fields(config, nil)
	if err != nil || len(fields) == 0 {
		return fmt.Errorf("want device=<name>[,alias=<name>]: %w", errdefs.ErrInvalidArgument)
	}
	alias := ""
	for _, field := range fields[1:] {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return fmt.Errorf("invalid device config %q: %w", field, errdefs.ErrInvalidArgument)
		case key != "alias":
			return fmt.Errorf("unknown device config key %q, want alias: %w", key, errdefs.ErrInvalidArgument)
		}
		alias = value
	}
	if alias != "" {
		d.aliases[alias] = fields[0]
	} else {
		d.names = append(d.names, fields[0])
	}
	return nil
}

// admitDevices replaces what an op asks for by the devices that it is granted,
// and refuses it for want of a device or of the right to use it.
func (j *job) admitDevices(op *pb.ExecOp) error {
	granted := map[string]bool{}
	for _, name := range j.devices.names {
		for _, d := range j.builder.cfg.Devices.Find(name) {
			granted[d.Name] = true
		}
	}
	var admitted, forbidden []string
	for _, want := range op.GetCdiDevices() {
		name, aliased := j.devices.aliases[want.GetName()]
		if !aliased {
			name = want.GetName()
		}
		found := j.builder.cfg.Devices.Find(name)
		if len(found) == 0 && !want.GetOptional() {
			return cdi.Missing(name)
		}
		for _, d := range found {
			switch {
			case slices.Contains(admitted, d.Name):
			case j.devices.all || aliased || granted[d.Name] || d.AutoAllow:
				admitted = append(admitted, d.Name)
			default:
				forbidden = append(forbidden, d.Name)
			}
		}
	}
	switch len(forbidden) {
	case 0:
	case 1:
		return fmt.Errorf("device %s is requested by the build but not allowed: %w", forbidden[0], errdefs.ErrPermissionDenied)
	default:
		return fmt.Errorf("devices %s are requested by the build but not allowed: %w", strings.Join(forbidden, ", "), errdefs.ErrPermissionDenied)
	}
	op.CdiDevices = nil
	for _, name := range admitted {
		op.CdiDevices = append(op.CdiDevices, &pb.CDIDevice{Name: name})
	}
	return nil
}
