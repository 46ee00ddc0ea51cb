package compose

import (
	"context"
	"fmt"

	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// importedOp is an operation that came ready-made and goes out byte for byte.
type importedOp struct {
	encoded []byte
	meta    *pb.OpMetadata
}

func (*importedOp) encode(*encoding) error { return nil }

// Import turns a Definition into a State that can be built upon. Its
// operations keep their bytes, and so their digests, metadata and source
// locations. A Definition without operations is scratch. The Definition is
// verified as the builder would do it, and must not be changed afterwards.
func Import(ctx context.Context, def *Definition) (State, error) {
	if llb.IsScratch(def) {
		return Scratch(), nil
	}
	graph, err := llb.Load(ctx, def, llb.Options{})
	if err != nil {
		return State{}, fmt.Errorf("import definition: %w", err)
	}
	ops, err := llb.Dump(def)
	if err != nil {
		return State{}, fmt.Errorf("import definition: %w", err)
	}
	nodes := make(map[string]*node, len(ops))
	for i, op := range ops {
		n := &node{operation: &importedOp{encoded: def.Def[i], meta: op.OpMetadata}}
		if op.Op.Platform != nil {
			platform := llb.PlatformFromPB(op.Op.Platform, graph.Result().Vertex.Platform)
			n.info.Platform = &platform
		}
		nodes[op.Digest.String()] = n
	}
	for _, op := range ops {
		n := nodes[op.Digest.String()]
		if n.inputs != nil {
			continue
		}
		for _, input := range op.Op.Inputs {
			n.inputs = append(n.inputs, State{node: nodes[input.Digest], index: int(input.Index)})
		}
	}
	for v := range graph.All() {
		// As for operations made here, the platform comes down the main input.
		if n := nodes[v.Received.String()]; len(n.inputs) > 0 {
			n.info = n.info.inherit(n.inputs[0])
		}
	}
	if err := importLocations(def.Source, nodes); err != nil {
		return State{}, err
	}
	// Verified: the pointer is last and has one input.
	pointer := ops[len(ops)-1]
	return nodes[pointer.Digest.String()].inputs[0], nil
}

// importLocations attaches the source texts to the operations.
func importLocations(source *pb.Source, nodes map[string]*node) error {
	texts := make([]*Text, len(source.GetInfos()))
	for i, info := range source.GetInfos() {
		text, err := llb.SourceInfoFromPB(info)
		if err != nil {
			return fmt.Errorf("import definition: %w", err)
		}
		texts[i] = text
	}
	for dgst, locations := range source.GetLocations() {
		n := nodes[dgst]
		if n == nil {
			continue
		}
		for _, location := range locations.GetLocations() {
			index := int(location.GetSourceIndex())
			if index < 0 || index >= len(texts) {
				continue
			}
			n.info.Locations = append(n.info.Locations, Location{
				Text:   texts[index],
				Ranges: llb.RangesFromPB(location.GetRanges()),
			})
		}
	}
	return nil
}
