package llb

import (
	"errors"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// FuzzLoad feeds arbitrary bytes as a Definition. Whatever loads must keep
// the promises of a Graph.
func FuzzLoad(f *testing.F) {
	seed := func(make func(b *builder) *pb.Definition) {
		encoded, err := proto.Marshal(make(newBuilder(&testing.T{})))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	seed(func(b *builder) *pb.Definition {
		image := b.add(sourceOp("docker-image://a"))
		ran := b.add(execOp(image))
		file := b.add(fileOp([]*pb.FileAction{{Input: 0, SecondaryInput: 1, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/"}}}}, ran, image))
		return b.done(b.add(mergeOp(file, ran)))
	})
	seed(func(b *builder) *pb.Definition { return b.withCap("source.image") })
	seed(func(b *builder) *pb.Definition { return b.def })
	f.Fuzz(func(t *testing.T, data []byte) {
		def := &pb.Definition{}
		if err := proto.Unmarshal(data, def); err != nil {
			return
		}
		// Dumping must cope with anything too.
		_ = DumpDot(io.Discard, def)
		_ = DumpJSON(io.Discard, def)
		g, err := Load(t.Context(), def, Options{DefaultPlatform: linuxAMD64})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not the sender's fault: %v", err)
			}
			return
		}
		checkGraph(t, g)
	})
}

// checkGraph verifies what users of a Graph rely on.
func checkGraph(t *testing.T, g *Graph) {
	t.Helper()
	seen := map[*Vertex]bool{}
	for v := range g.All() {
		if len(v.Inputs) != len(v.Op.Inputs) || v.Metadata == nil || v.Op.Op == nil {
			t.Fatalf("vertex %s is incomplete", v.Digest)
		}
		for _, in := range v.Inputs {
			if !seen[in.Vertex] || in.Index < 0 || in.Index >= in.Vertex.Outputs {
				t.Fatalf("vertex %s has a bad input", v.Digest)
			}
		}
		seen[v] = true
	}
	if root := g.Result(); !seen[root.Vertex] || root.Index >= root.Vertex.Outputs {
		t.Fatal("the result is not in the graph")
	}
}

// FuzzOp feeds arbitrary bytes as one operation of an otherwise good
// definition, which gets further than FuzzLoad: the digests fit.
func FuzzOp(f *testing.F) {
	for _, op := range []*pb.Op{
		execOp(&pb.Input{}),
		fileOp([]*pb.FileAction{{Input: 0, SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}}}, &pb.Input{}),
		mergeOp(&pb.Input{}, &pb.Input{}),
		{Inputs: []*pb.Input{{}}, Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: -1}, Upper: &pb.UpperDiffInput{}}}},
		{Inputs: []*pb.Input{{}}, Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{0, 0}}}},
		{Op: &pb.Op_Build{Build: &pb.BuildOp{Def: &pb.Definition{Def: [][]byte{{1}}}}}},
	} {
		encoded, err := proto.Marshal(op)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		op := &pb.Op{}
		if err := proto.Unmarshal(data, op); err != nil {
			return
		}
		b := newBuilder(t)
		base := b.add(sourceOp("docker-image://a"))
		for _, input := range op.Inputs {
			input.Digest = base.Digest
		}
		g, err := Load(t.Context(), b.done(b.add(op)), Options{DefaultPlatform: linuxAMD64})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not the sender's fault: %v", err)
			}
			return
		}
		checkGraph(t, g)
	})
}
