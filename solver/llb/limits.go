package llb

import pb "github.com/kilnbuild/kiln/solver/pb/llb"

// Limits bound what one Definition may cost before anything runs. A zero
// field stands for its value in DefaultLimits.
type Limits struct {
	// Ops bounds the number of operations, the pointer included.
	Ops int
	// OpBytes bounds the encoded size of one operation.
	OpBytes int
	// Elements bounds the messages and list entries of all operations
	// together. Two bytes on the wire can become hundreds in memory; the
	// size of the message alone is no bound.
	Elements int
	// Inputs bounds the inputs of one operation.
	Inputs int
	// Depth bounds the longest path from the result to an operation
	// without inputs.
	Depth int
	// MetadataBytes bounds the text in the metadata of one operation.
	MetadataBytes int
	// Locations bounds the source ranges of one operation.
	Locations int
}

// DefaultLimits are far above what people build and far below what hurts.
func DefaultLimits() Limits {
	return Limits{
		Ops:           1 << 16,
		OpBytes:       16 << 20,
		Elements:      1 << 19,
		Inputs:        1 << 13,
		Depth:         1 << 14,
		MetadataBytes: 1 << 20,
		Locations:     1 << 12,
	}
}

// orDefault fills in the zero fields.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ have, def *int }{
		{&l.Ops, &d.Ops},
		{&l.OpBytes, &d.OpBytes},
		{&l.Elements, &d.Elements},
		{&l.Inputs, &d.Inputs},
		{&l.Depth, &d.Depth},
		{&l.MetadataBytes, &d.MetadataBytes},
		{&l.Locations, &d.Locations},
	} {
		if *f.have == 0 {
			*f.have = *f.def
		}
	}
	return l
}

// checkMetadata bounds the text that metadata carries into every progress
// message and every log.
func (l Limits) checkMetadata(dgst string, meta *pb.OpMetadata) error {
	size := len(meta.GetProgressGroup().GetId()) + len(meta.GetProgressGroup().GetName()) +
		len(meta.GetLinuxResources().GetCpusetCpus()) + len(meta.GetLinuxResources().GetCpusetMems())
	for key, value := range meta.GetDescription() {
		size += len(key) + len(value)
	}
	for id := range meta.GetCaps() {
		size += len(id)
	}
	if size > l.MetadataBytes {
		return invalidf("invalid metadata of vertex %s: %d bytes, at most %d are allowed", dgst, size, l.MetadataBytes)
	}
	return nil
}
