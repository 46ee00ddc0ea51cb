package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// graphVersion is the version of the answer to requestGraph, which clients
// still treat as a draft.
const graphVersion = "0.1.0"

// graphAnswer is the answer to requestGraph: a graph in JSON. Ops and source
// have the JSON form of their messages, metadata that of its fields.
type graphAnswer struct {
	Def      map[digest.Digest]json.RawMessage `json:"def"`
	Metadata map[string]*pb.OpMetadata         `json:"metadata"`
	Source   json.RawMessage                   `json:"source"`
}

// graph tells what the target would be built as, without handing it over.
func (r *request) graph(ctx context.Context) (*frontend.Result, error) {
	file, err := r.parse(nil)
	if err != nil {
		return nil, err
	}
	lowered, err := lower.Convert(ctx, file, r.text, r, r.lowerOptions(r.firstPlatform(), nil))
	if err != nil {
		return nil, err
	}
	options := r.marshalOptions()
	options.Platform = lowered.Platform
	def, err := compose.Marshal(lowered.Graph, options)
	if err != nil {
		return nil, fmt.Errorf("failed to marshal LLB definition: %w", err)
	}
	out := graphAnswer{Def: map[digest.Digest]json.RawMessage{}, Metadata: def.Metadata}
	for _, encoded := range def.Def {
		op := &pb.Op{}
		if err := proto.Unmarshal(encoded, op); err != nil {
			return nil, fmt.Errorf("decode graph: %w", err)
		}
		if out.Def[digest.FromBytes(encoded)], err = protojson.Marshal(op); err != nil {
			return nil, fmt.Errorf("encode graph: %w", err)
		}
	}
	if out.Source, err = protojson.Marshal(def.Source); err != nil {
		return nil, fmt.Errorf("encode graph: %w", err)
	}
	result, err := answer(out, nil)
	if err != nil {
		return nil, err
	}
	delete(result.Metadata, "result.txt") // there is no form for people
	result.SetMeta("version", []byte(graphVersion))
	return result, nil
}
