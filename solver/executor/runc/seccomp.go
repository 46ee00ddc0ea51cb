package runc

import (
	"slices"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// seccompProfile is containerd's default profile, without the x32 ABI.
//
// A runtime compiles the profile for each architecture that it names, once for
// every container: a quarter of what a short step costs. Distributions ship
// kernels that cannot run x32 programs, and one that can is better off without
// them: the ABI has been a way around filters before. A program that tries is
// killed.
func seccompProfile(s *specs.Spec) *specs.LinuxSeccomp {
	p := seccomp.DefaultProfile(s)
	p.Architectures = slices.DeleteFunc(p.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return p
}
