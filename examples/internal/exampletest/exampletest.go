package exampletest

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/examples/internal/example"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Check prints a graph twice and demands that both are the same bytes and a
// graph that a builder accepts. It returns the graph.
func Check(t testing.TB, define example.Define, args ...string) *llb.Graph {
	t.Helper()
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := example.Print(w, define, args); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs print different graphs")
	}
	def := &pb.Definition{}
	if err := proto.Unmarshal(first.Bytes(), def); err != nil {
		t.Fatal(err)
	}
	g, err := llb.Load(t.Context(), def, llb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Count returns how many vertices of a graph are sources and commands.
func Count(g *llb.Graph) (sources, commands int) {
	for v := range g.All() {
		switch v.Op.GetOp().(type) {
		case *pb.Op_Source:
			sources++
		case *pb.Op_Exec:
			commands++
		}
	}
	return sources, commands
}
