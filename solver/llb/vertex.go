package llb

import (
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Vertex is one operation of a Graph. It is read-only, and so is all that it
// points to.
type Vertex struct {
	// Digest names the vertex in progress; see the package comment.
	Digest digest.Digest
	// Received is the digest by which the sender knows the vertex. When
	// several received operations became one vertex it is that of the first.
	Received digest.Digest
	// Name is what a display shows: the sender's own name or a derived one.
	Name string
	// Op is the operation. Its oneof is set, its platform is set and
	// normalised, and its input digests are Digests of this graph.
	Op *pb.Op
	// Metadata is never nil.
	Metadata *pb.OpMetadata
	// Platform is Op.Platform, normalised.
	Platform ocispecs.Platform
	// Inputs correspond to Op.Inputs.
	Inputs []Edge
	// Outputs is how many outputs the operation has; an Edge with a higher
	// index does not exist.
	Outputs int
	// Sources are the places in source texts that the operation comes from.
	Sources []Source
	// ProxyNetwork says that the process of an ExecOp reaches the network
	// through the recording proxy only.
	ProxyNetwork bool
}

// Edge is one output of a vertex.
type Edge struct {
	Vertex *Vertex
	Index  int
}

// Source is a set of ranges of one source text.
type Source struct {
	Info   *solver.SourceInfo
	Ranges []solver.Range
}

// Options returns how the sender wants the vertex to be scheduled and shown.
func (v *Vertex) Options() solver.VertexOptions {
	options := solver.VertexOptions{
		IgnoreCache: v.Metadata.IgnoreCache,
		Description: v.Metadata.Description,
	}
	if export := v.Metadata.ExportCache; export != nil {
		value := export.Value
		options.ExportCache = &value
	}
	if group := v.Metadata.ProgressGroup; group != nil {
		options.Group = &solver.ProgressGroup{ID: group.Id, Name: group.Name, Weak: group.Weak}
	}
	return options
}
