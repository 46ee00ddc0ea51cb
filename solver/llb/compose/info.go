package compose

import (
	"maps"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Info is what is said of an operation beside what it does. Only Platform and
// WorkerFilters take part in its digest. The zero value is usable.
type Info struct {
	// Name is shown to people in place of a derived one.
	Name string
	// Description holds free pairs, kept with the vertex.
	Description map[string]string
	// Platform that the operation is for. Nil inherits the platform of the
	// main input, or else that of Options.
	Platform *ocispecs.Platform
	// WorkerFilters ask for a worker, in containerd's filter language.
	WorkerFilters []string
	// IgnoreCache makes the operation run although its result is known.
	IgnoreCache bool
	// ExportCache forces (true) or forbids (false) cache export.
	ExportCache *bool
	// Group collapses vertices in displays; nil for none.
	Group *Group
	// Resources limit the processes of Run; ignored elsewhere.
	Resources *Resources
	// Caps are capabilities to demand beyond those that are found out.
	Caps []string
	// Locations are the places in source texts that the operation comes from.
	Locations []Location
}

// Words shared with the rest of the builder.
type (
	// Group names a set of vertices that displays show as one.
	Group = solver.ProgressGroup
	// Text is a source text. Two Locations share one if they have the same
	// pointer.
	Text = solver.SourceInfo
	// Range is a part of a Text.
	Range = solver.Range
	// Position is a place in a Text.
	Position = solver.Position
	// Definition is a marshalled graph.
	Definition = pb.Definition
)

// Location is a set of ranges in one text.
type Location struct {
	Text   *Text
	Ranges []Range
}

// Resources limit the cgroup of a process; zero fields set no limit.
type Resources struct {
	// Memory and MemorySwap (memory and swap together) are in bytes; -1 as
	// MemorySwap means no limit.
	Memory, MemorySwap int64
	// CPUShares is a relative weight.
	CPUShares uint64
	// CPUPeriod and CPUQuota are in microseconds.
	CPUPeriod uint64
	CPUQuota  int64
	// CPUs and MemoryNodes are lists such as 0-3,7.
	CPUs, MemoryNodes string
}

// capResources is demanded by processes with limits.
const capResources = "exec.meta.linux.resources"

// metadata converts all but the locations; caps are those found out.
func (i Info) metadata(caps map[string]bool) *pb.OpMetadata {
	meta := &pb.OpMetadata{IgnoreCache: i.IgnoreCache, Caps: maps.Clone(caps)}
	for _, id := range i.Caps {
		if meta.Caps == nil {
			meta.Caps = map[string]bool{}
		}
		meta.Caps[id] = true
	}
	if i.Name != "" || len(i.Description) > 0 {
		meta.Description = map[string]string{}
		maps.Copy(meta.Description, i.Description)
		if i.Name != "" {
			meta.Description[llb.CustomName] = i.Name
		}
	}
	if i.ExportCache != nil {
		meta.ExportCache = &pb.ExportCache{Value: *i.ExportCache}
	}
	if i.Group != nil {
		meta.ProgressGroup = &pb.ProgressGroup{Id: i.Group.ID, Name: i.Group.Name, Weak: i.Group.Weak}
	}
	if r := i.Resources; r != nil && caps[capResources] {
		meta.LinuxResources = &pb.LinuxResources{
			Memory:     r.Memory,
			MemorySwap: r.MemorySwap,
			CpuShares:  r.CPUShares,
			CpuPeriod:  r.CPUPeriod,
			CpuQuota:   r.CPUQuota,
			CpusetCpus: r.CPUs,
			CpusetMems: r.MemoryNodes,
		}
	}
	return meta
}
