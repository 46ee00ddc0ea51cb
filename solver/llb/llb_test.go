package llb

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// builder assembles definitions by hand, also wrong ones.
type builder struct {
	t   *testing.T
	def *pb.Definition
}

func newBuilder(t *testing.T) *builder {
	return &builder{t: t, def: &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}}
}

// add appends an op and returns an input that names its first output.
func (b *builder) add(op *pb.Op) *pb.Input {
	b.t.Helper()
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		b.t.Fatal(err)
	}
	b.def.Def = append(b.def.Def, encoded)
	return &pb.Input{Digest: digest.FromBytes(encoded).String()}
}

// done appends the pointer.
func (b *builder) done(result *pb.Input) *pb.Definition {
	b.t.Helper()
	b.add(&pb.Op{Inputs: []*pb.Input{result}})
	return b.def
}

func sourceOp(identifier string) *pb.Op {
	return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: identifier}}}
}

// execOp runs "true" on its first input.
func execOp(inputs ...*pb.Input) *pb.Op {
	return &pb.Op{Inputs: inputs, Op: &pb.Op_Exec{Exec: &pb.ExecOp{
		Meta:   &pb.Meta{Args: []string{"true"}, Cwd: "/"},
		Mounts: []*pb.Mount{{Dest: "/"}},
	}}}
}

func mergeOp(inputs ...*pb.Input) *pb.Op {
	merge := &pb.MergeOp{}
	for i := range inputs {
		merge.Inputs = append(merge.Inputs, &pb.MergeInput{Input: int64(i)})
	}
	return &pb.Op{Inputs: inputs, Op: &pb.Op_Merge{Merge: merge}}
}

func fileOp(actions []*pb.FileAction, inputs ...*pb.Input) *pb.Op {
	return &pb.Op{Inputs: inputs, Op: &pb.Op_File{File: &pb.FileOp{Actions: actions}}}
}
