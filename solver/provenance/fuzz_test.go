package provenance

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// FuzzSteps feeds graphs of source texts, which nobody has verified.
func FuzzSteps(f *testing.F) {
	op, err := proto.Marshal(&pb.Op{
		Inputs: []*pb.Input{{Digest: "sha256:0"}}, Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "local://x", Attrs: map[string]string{"local.session": "s"}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(op, []byte{})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		def := &pb.Definition{Def: [][]byte{one, two}}
		facts := &Facts{Definition: &pb.Definition{
			Def: [][]byte{one}, Source: &pb.Source{Infos: []*pb.SourceInfo{{Definition: def}}, Locations: map[string]*pb.Locations{"x": nil}},
		}}
		p, err := facts.Predicate(Options{})
		if err != nil {
			return
		}
		if _, err := json.Marshal(p); err != nil {
			t.Errorf("predicate cannot be written: %v", err)
		}
	})
}
