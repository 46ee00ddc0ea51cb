package build

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// vertex makes one of a graph that nobody loads.
func vertex(name string, op *pb.Op, inputs ...llb.Edge) *llb.Vertex {
	return &llb.Vertex{Digest: digest.FromString(name), Name: name, Op: op, Inputs: inputs}
}

func exec(mounts ...*pb.Mount) *pb.Op {
	return &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{Mounts: mounts}}}
}

func file(actions ...*pb.FileAction) *pb.Op {
	return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: actions}}}
}

// TestSpine checks which steps count as those a result is written on top of.
func TestSpine(t *testing.T) {
	source := &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{}}}
	image, local := vertex("image", source), vertex("local", source)
	run := vertex("run", exec(
		&pb.Mount{Dest: "/", Input: 0, Output: 0}, &pb.Mount{Dest: "/src", Input: 1, Output: 1},
	), llb.Edge{Vertex: image}, llb.Edge{Vertex: local})
	// The second action goes on with the first, which is number 2 in all.
	cp := vertex("copy", file(
		&pb.FileAction{Input: 0, SecondaryInput: 1, Output: -1},
		&pb.FileAction{Input: 2, SecondaryInput: 1, Output: 0},
	), llb.Edge{Vertex: run}, llb.Edge{Vertex: local})
	side := vertex("side", exec(&pb.Mount{Dest: "/", Input: 0, Output: -1}, &pb.Mount{Dest: "/out", Input: -1, Output: 0}), llb.Edge{Vertex: cp})
	loop := vertex("loop", file(&pb.FileAction{Input: 1, Output: 0}), llb.Edge{Vertex: run})
	merge := vertex("merge", &pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}, llb.Edge{Vertex: run}, llb.Edge{Vertex: cp})
	for _, tc := range []struct {
		from llb.Edge
		want string
	}{
		{llb.Edge{Vertex: cp}, "copy run image "},
		{llb.Edge{Vertex: run, Index: 1}, "run local "},
		{llb.Edge{Vertex: run, Index: 7}, "run "},
		{llb.Edge{Vertex: side}, "side "},
		{llb.Edge{Vertex: loop}, "loop "},
		{llb.Edge{Vertex: merge}, "merge "},
		{llb.Edge{}, ""},
	} {
		got := ""
		for _, e := range spine(tc.from) {
			got += e.Vertex.Name + " "
		}
		if got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// step is an op that takes settings of others.
type step struct{ joined []solver.Op }

func (*step) Keys(context.Context, solver.Env) (solver.KeySpec, error) { return solver.KeySpec{}, nil }

func (*step) Run(context.Context, solver.Env, []solver.Result) ([]solver.Result, error) {
	return []solver.Result{nil}, nil
}

func (s *step) Join(other solver.Op) { s.joined = append(s.joined, other) }

// TestWatched checks that a watched op is the op to everybody else, and that
// builds without early exporters watch nothing.
func TestWatched(t *testing.T) {
	j := &job{ahead: startAhead(t.Context(), []export.Instance{nil}, nil)}
	if j.ahead != nil {
		t.Fatal("nobody wants to begin early")
	}
	j.ahead.expect(nil)
	j.ahead.finish()
	j.ahead.stop(t.Context())
	a, b := &step{}, &step{}
	names := newNaming(0)
	one, two := j.watch(a, vertex("v", exec()), names), j.watch(b, vertex("v", file()), names)
	if _, err := one.Run(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	one.(solver.Joiner).Join(two)
	if len(a.joined) != 1 || a.joined[0] != solver.Op(b) {
		t.Errorf("joined %v", a.joined)
	}
	if op := j.watch(a, vertex("v", &pb.Op{Op: &pb.Op_Source{}}), names); op != solver.Op(a) {
		t.Error("a source is watched")
	}
}
