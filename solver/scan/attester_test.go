package scan

import (
	"context"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// bridge has one scanner and keeps what it is given to solve.
type bridge struct {
	frontend.Bridge
	solved []*pb.Definition
}

func (*bridge) Info() frontend.Info {
	return frontend.Info{Workers: []frontend.WorkerInfo{{Platforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}}}}
}

func (*bridge) ResolveSource(_ context.Context, op *pb.SourceOp, _ frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	return &frontend.SourceMeta{Op: op, Image: &frontend.ImageMeta{Config: []byte(`{"config":{"Cmd":["scan"]}}`)}}, nil
}

func (b *bridge) Solve(_ context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	b.solved = append(b.solved, req.Definition)
	return &frontend.Result{Ref: graph{def: req.Definition}}, nil
}

// graph is a ref that nobody looks into.
type graph struct {
	frontend.Ref
	def *pb.Definition
}

func (g graph) Definition(context.Context) (*pb.Definition, error) { return g.def, nil }

func TestAttest(t *testing.T) {
	def, err := compose.Marshal(compose.Files(compose.Scratch(), compose.Info{}, compose.Mkdir{Path: "/d"}), compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{}
	built := &build.Built{
		Request: &build.Request{Opts: map[string]string{"attest:sbom": "generator=s", "no-cache": ""}}, Bridge: b,
		Result:    &frontend.Result{Refs: map[string]frontend.Ref{"a": graph{def: def}, "b": nil}},
		Platforms: []export.Platform{{ID: "a", Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}}, {ID: "b"}},
	}
	for range 2 { // The second time there is a description already.
		if err := (Attester{}).Attest(t.Context(), built); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.solved) != 1 || len(built.Result.Attestations) != 1 || len(built.Result.Attestations["a"]) != 1 {
		t.Fatalf("result is %+v, %d scans", built.Result, len(b.solved))
	}
	afresh := 0
	for _, meta := range b.solved[0].Metadata {
		if meta.IgnoreCache {
			afresh++
		}
	}
	if afresh != 1 {
		t.Errorf("%d steps run afresh, want the scan", afresh)
	}
}

func TestNobodyAsks(t *testing.T) {
	built := &build.Built{Request: &build.Request{}, Result: &frontend.Result{}}
	if err := (Attester{}).Attest(t.Context(), built); err != nil || built.Result.Attestations != nil {
		t.Errorf("result is %+v, %v", built.Result, err)
	}
	err := Attester{}.Check(&build.Request{Opts: map[string]string{"attest:sbom": "generator="}})
	if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), "sbom generator cannot be empty") {
		t.Errorf("error is %v", err)
	}
}
