package main

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// withoutSession returns a graph that any client can build: directories are
// those of the client that sends it, and marked in the same way each time. An
// operation that is changed has another digest, and so has all that is built
// on it.
func withoutSession(def *pb.Definition) (*pb.Definition, error) {
	out := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	renamed := map[string]string{}
	for i, encoded := range def.GetDef() {
		op := &pb.Op{}
		if err := proto.Unmarshal(encoded, op); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		for _, in := range op.GetInputs() {
			in.Digest = renamed[in.GetDigest()]
		}
		before := digest.FromBytes(encoded).String()
		meta := def.GetMetadata()[before]
		if src := op.GetSource(); src != nil && strings.HasPrefix(src.GetIdentifier(), "local://") {
			delete(src.Attrs, "local.session")
			src.Attrs["local.unique"] = "dockerfile2llb"
			delete(meta.GetCaps(), "source.local.sessionid")
		}
		changed, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		after := digest.FromBytes(changed).String()
		renamed[before] = after
		out.Def = append(out.Def, changed)
		if meta != nil {
			out.Metadata[after] = meta
		}
	}
	if src := def.GetSource(); src != nil {
		out.Source = &pb.Source{Infos: src.GetInfos(), Locations: map[string]*pb.Locations{}}
		for id, l := range src.GetLocations() {
			if to, ok := renamed[id]; ok {
				out.Source.Locations[to] = l
			}
		}
		// How the Dockerfile itself was fetched is of no use to others.
		for _, info := range out.Source.Infos {
			info.Definition = nil
		}
	}
	return out, nil
}
