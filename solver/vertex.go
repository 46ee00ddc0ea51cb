package solver

import (
	"github.com/opencontainers/go-digest"
)

// Vertex is one immutable node of a build graph.
type Vertex struct {
	// Digest identifies the vertex, inputs included, within and across builds:
	// equal digests mean the same work. It names the vertex in progress events.
	Digest digest.Digest
	// Name is shown to people, for example "[build 2/5] RUN make".
	Name string
	// Op says what the vertex means.
	Op Op
	// Inputs are the edges whose results Op.Run receives, in order.
	Inputs []Edge
	// Options change how the vertex is scheduled or shown, never what it yields.
	Options VertexOptions
}

// VertexOptions change how a vertex is scheduled or shown.
type VertexOptions struct {
	// IgnoreCache makes the vertex run although a record of it exists; the new
	// result replaces the record.
	IgnoreCache bool
	// ExportCache forces (true) or forbids (false) cache export; nil leaves it
	// to the exporter's mode.
	ExportCache *bool
	// Description holds free key-value pairs from the client.
	Description map[string]string
	// Group collapses vertices in displays; nil for none.
	Group *ProgressGroup
}

// ProgressGroup names a set of vertices that displays show as one.
type ProgressGroup struct {
	ID   string
	Name string
	// Weak groups are ignored by displays when they have a single member.
	Weak bool
}

// Edge is one output of a vertex.
type Edge struct {
	Vertex *Vertex
	// Index counts the vertex's outputs from zero.
	Index int
}
