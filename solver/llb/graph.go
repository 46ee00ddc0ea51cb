package llb

import (
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Graph is a verified build graph. Make one with Load.
type Graph struct {
	result   Edge
	vertices []*Vertex
	byDigest map[digest.Digest]*Vertex
}

// Result returns the edge whose value the graph is there for.
func (g *Graph) Result() Edge { return g.result }

// Len returns the number of vertices.
func (g *Graph) Len() int { return len(g.vertices) }

// All yields every vertex once, inputs before those that use them. The order
// is the same for equal Definitions.
func (g *Graph) All() iter.Seq[*Vertex] { return slices.Values(g.vertices) }

// Lookup finds a vertex by its digest or by one of its received digests; nil
// when the graph has no such vertex.
func (g *Graph) Lookup(dgst digest.Digest) *Vertex { return g.byDigest[dgst] }
