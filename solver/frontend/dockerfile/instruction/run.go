package instruction

import (
	"fmt"
	"slices"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Run runs a command.
//
//	RUN [flags] <command>
type Run struct {
	Meta
	Command
	// Network is none, default or host.
	Network string
	// Security is sandbox or insecure.
	Security string
	// Devices asked for.
	Devices []*Device
	// Mounts; before expansion only From is to be relied on.
	Mounts []*Mount

	mounts []string // the flags as written
}

// maxMounts bounds the mounts of one step.
const maxMounts = 500

// runFlags are the flags of RUN; those of mounts are read by mountReader.
var runFlags = map[string]flagKind{"mount": flagList, "network": flagText, "security": flagText, "device": flagList}

// parseRun checks devices, mounts, network and security in this order, which
// decides which of several errors a user sees.
func parseRun(raw *syntax.Instruction) (Instruction, error) {
	given, err := parseFlags(raw, runFlags)
	if err != nil {
		return nil, err
	}
	out := &Run{Meta: meta(raw), Command: parseCommand(raw), Network: "default", Security: "sandbox", mounts: given["mount"]}
	for _, text := range given["device"] {
		device, err := parseDevice(text)
		if err != nil {
			return nil, err
		}
		out.Devices = append(out.Devices, device)
	}
	if len(out.mounts) > maxMounts {
		return nil, fmt.Errorf("more than the max allowed number of %d mounts", maxMounts)
	}
	for _, text := range out.mounts {
		mount, err := parseMountSource(text)
		if err != nil {
			return nil, err
		}
		out.Mounts = append(out.Mounts, mount)
	}
	if len(given["network"]) > 0 {
		out.Network = given.text("network")
	}
	if !slices.Contains([]string{"default", "none", "host"}, out.Network) {
		return nil, fmt.Errorf("invalid network mode %q", out.Network)
	}
	if len(given["security"]) > 0 {
		out.Security = given.text("security")
	}
	if out.Security != "sandbox" && out.Security != "insecure" {
		return nil, fmt.Errorf("security %q is not valid", out.Security)
	}
	return out, nil
}

// Expand implements Expandable: variables are replaced in the values of mounts,
// never in the command.
func (r *Run) Expand(x Expander) (Instruction, error) {
	out := *r
	out.Mounts = make([]*Mount, len(r.mounts))
	for i, text := range r.mounts {
		var err error
		if out.Mounts[i], err = parseMount(text, x); err != nil {
			return nil, err
		}
	}
	return &out, nil
}
