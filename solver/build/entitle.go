package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Entitlements that a build may be given.
const (
	EntitlementNetworkHost      = "network.host"
	EntitlementSecurityInsecure = "security.insecure"
	EntitlementDevice           = "device"
)

// grant returns the entitlements a build gets: those asked for, all of which
// the daemon must allow.
func (b *Builder) grant(asked []string) (map[string]bool, error) {
	granted := map[string]bool{}
	for _, e := range asked {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case EntitlementNetworkHost, EntitlementSecurityInsecure, EntitlementDevice:
		default:
			return nil, fmt.Errorf("unknown entitlement %s: %w", e, errdefs.ErrInvalidArgument)
		}
		if !slices.Contains(b.cfg.Entitlements, name) {
			return nil, fmt.Errorf("granting entitlement %s is not allowed by build daemon configuration: %w",
				name, errdefs.ErrPermissionDenied)
		}
		granted[name] = true
	}
	return granted, nil
}

// admit refuses an op that needs what the build was not given, and names the
// devices it gets. It is the one place where graphs are held to entitlements.
func (j *job) admit(op *pb.Op) error {
	exec := op.GetExec()
	if exec == nil {
		return nil
	}
	if err := j.admitProcess(exec.GetNetwork(), exec.GetSecurity()); err != nil {
		return err
	}
	return j.admitDevices(exec)
}
