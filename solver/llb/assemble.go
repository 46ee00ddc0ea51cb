package llb

import (
	"context"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// makeVertices turns the nodes into the graph.
func (l *loader) makeVertices(context.Context) error {
	texts, err := sourceTexts(l.def.Source)
	if err != nil {
		return err
	}
	g := &Graph{byDigest: make(map[digest.Digest]*Vertex, 2*len(l.sorted))}
	for _, n := range l.sorted {
		// Two operations can become the same by rewriting, or because they
		// only differed in how they were encoded.
		if twin := g.byDigest[n.digest]; twin != nil {
			n.vertex = twin
			mergeTwin(twin, n.meta)
		} else {
			if n.vertex, err = l.makeVertex(n, texts); err != nil {
				return err
			}
			g.vertices = append(g.vertices, n.vertex)
			g.byDigest[n.digest] = n.vertex
		}
	}
	for _, n := range l.sorted {
		if g.byDigest[n.received] == nil {
			g.byDigest[n.received] = n.vertex
		}
	}
	root := l.sorted[len(l.sorted)-1]
	g.result = Edge{Vertex: root.vertex, Index: int(l.result.Index)}
	l.graph = g
	return nil
}

// mergeTwin keeps the stricter wish of two senders of one operation: whoever
// asked for a fresh result gets one. The metadata may be the caller's, so it
// is replaced and not changed.
func mergeTwin(v *Vertex, meta *pb.OpMetadata) {
	if meta.IgnoreCache && !v.Metadata.IgnoreCache {
		v.Metadata = proto.Clone(v.Metadata).(*pb.OpMetadata)
		v.Metadata.IgnoreCache = true
	}
}

func (l *loader) makeVertex(n *node, texts []*solver.SourceInfo) (*Vertex, error) {
	sources, err := vertexSources(l.def.Source.GetLocations()[n.received.String()], texts, l.limits.Locations)
	if err != nil {
		return nil, err
	}
	platform := PlatformFromPB(n.op.Platform, l.options.DefaultPlatform)
	n.op.Platform = PlatformToPB(platform)
	v := &Vertex{
		Digest:       n.digest,
		Received:     n.received,
		Op:           n.op,
		Metadata:     n.meta,
		Platform:     platform,
		Inputs:       make([]Edge, len(n.inputs)),
		Outputs:      n.outputs,
		Sources:      sources,
		ProxyNetwork: l.behindProxy(n.op),
	}
	for i, input := range n.inputs {
		v.Inputs[i] = Edge{Vertex: input.vertex, Index: int(n.op.Inputs[i].Index)}
	}
	v.Name = vertexName(v)
	return v, nil
}
