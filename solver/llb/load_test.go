package llb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

var linuxAMD64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

func load(t *testing.T, def *pb.Definition, options Options) *Graph {
	t.Helper()
	if options.DefaultPlatform.OS == "" {
		options.DefaultPlatform = linuxAMD64
	}
	g, err := Load(t.Context(), def, options)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func names(g *Graph) []string {
	var list []string
	for v := range g.All() {
		list = append(list, v.Name)
	}
	return list
}

func TestLoadOrdersInputsFirst(t *testing.T) {
	b := newBuilder(t)
	base := b.add(sourceOp("docker-image://docker.io/library/alpine:latest"))
	left := b.add(execOp(base))
	right := b.add(fileOp([]*pb.FileAction{
		{Input: 0, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}},
		{Input: 1, SecondaryInput: -1, Output: 0, Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/x"}}},
	}, base))
	b.add(sourceOp("local://unused"))
	def := b.done(b.add(mergeOp(left, right)))
	// The order of the definition does not matter, but for the pointer.
	slices.Reverse(def.Def[:len(def.Def)-1])

	g := load(t, def, Options{})
	image := "docker-image://docker.io/library/alpine:latest"
	want := []string{image, "true", "mkdir /d, rm /x", "merge (true, mkdir /d, rm /x)"}
	if diff := cmp.Diff(want, names(g)); diff != "" {
		t.Error(diff)
	}
	for v := range g.All() {
		if v.Digest != v.Received {
			t.Errorf("%s: digest changed from %s to %s though nothing was rewritten", v.Name, v.Received, v.Digest)
		}
		if g.Lookup(v.Digest) != v {
			t.Errorf("%s: not found by digest", v.Name)
		}
	}
	if root := g.Result().Vertex; root.Name != want[3] || root.Inputs[0].Vertex.Inputs[0].Vertex != root.Inputs[1].Vertex.Inputs[0].Vertex {
		t.Error("the two sides of the diamond do not share their base")
	}
}

func TestLoadNormalisesPlatforms(t *testing.T) {
	b := newBuilder(t)
	op := sourceOp("docker-image://a")
	op.Platform = &pb.Platform{OS: "Linux", Architecture: "aarch64", Variant: "v8"}
	def := b.done(b.add(execOp(b.add(op))))
	g := load(t, def, Options{DefaultPlatform: ocispecs.Platform{OS: "linux", Architecture: "arm"}})
	var got []string
	for v := range g.All() {
		got = append(got, v.Op.Platform.OS+"/"+v.Op.Platform.Architecture+"/"+v.Platform.Variant)
	}
	if diff := cmp.Diff([]string{"linux/arm64/", "linux/arm/v7"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadRewritesAndRehashes(t *testing.T) {
	b := newBuilder(t)
	one := b.add(sourceOp("docker-image://one"))
	two := b.add(sourceOp("docker-image://two"))
	b.def.Metadata[two.Digest] = &pb.OpMetadata{IgnoreCache: true}
	run := b.add(execOp(one))
	result := b.add(mergeOp(run, two))
	def := b.done(result)

	g := load(t, def, Options{RewriteSource: func(_ context.Context, source *pb.SourceOp, platform *pb.Platform) error {
		if platform.GetArchitecture() != "amd64" {
			t.Errorf("platform %v", platform)
		}
		source.Identifier = "docker-image://pinned"
		return nil
	}})
	if g.Len() != 3 {
		t.Errorf("%d vertices, want the two sources to have become one: %q", g.Len(), names(g))
	}
	merged := g.Result().Vertex
	source := merged.Inputs[1].Vertex
	if source.Name != "docker-image://pinned" || !source.Metadata.IgnoreCache {
		t.Errorf("source is %+v", source)
	}
	if b.def.Metadata[one.Digest].GetIgnoreCache() {
		t.Error("metadata of the caller was changed")
	}
	for _, in := range []*pb.Input{one, two} {
		if g.Lookup(digest.Digest(in.Digest)) != source {
			t.Error("source is not found by its received digest")
		}
	}
	if merged.Received != digest.Digest(result.Digest) || merged.Digest == merged.Received {
		t.Errorf("digest %s, received %s, sent %s", merged.Digest, merged.Received, result.Digest)
	}
	if merged.Op.Inputs[1].Digest != source.Digest.String() {
		t.Error("input digests are not those of the graph")
	}
}

func TestLoadCallbacksRefuse(t *testing.T) {
	refusal := errors.New("no")
	b := newBuilder(t)
	def := b.done(b.add(sourceOp("docker-image://a")))
	for name, options := range map[string]Options{
		"source":     {RewriteSource: func(context.Context, *pb.SourceOp, *pb.Platform) error { return refusal }},
		"admittance": {Admit: func(*pb.Op) error { return refusal }},
	} {
		if _, err := Load(t.Context(), def, options); !errors.Is(err, refusal) || errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Load(t.Context(), def, Options{RewriteSource: func(_ context.Context, s *pb.SourceOp, _ *pb.Platform) error {
		s.Identifier = ""
		return nil
	}})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("rewritten to nothing: %v", err)
	}
}

func TestLoadProxyNetwork(t *testing.T) {
	b := newBuilder(t)
	image := b.add(sourceOp("docker-image://a"))
	offline := execOp(image)
	offline.GetExec().Network = pb.NetMode_NONE
	def := b.done(b.add(mergeOp(b.add(execOp(image)), b.add(offline))))
	plain, proxied := load(t, def, Options{}), load(t, def, Options{ProxyNetwork: true})
	in := func(g *Graph, i int) *Vertex { return g.Result().Vertex.Inputs[i].Vertex }
	if in(plain, 0).Digest == in(proxied, 0).Digest || !in(proxied, 0).ProxyNetwork {
		t.Error("a process with network must be another vertex behind the proxy")
	}
	if in(plain, 1).Digest != in(proxied, 1).Digest || in(proxied, 1).ProxyNetwork {
		t.Error("a process without network must stay the same vertex")
	}
}

func TestLoadSourcesAndOptions(t *testing.T) {
	b := newBuilder(t)
	in := b.add(sourceOp("docker-image://a"))
	b.def.Metadata[in.Digest] = &pb.OpMetadata{
		IgnoreCache:   true,
		Description:   map[string]string{CustomName: "base"},
		ExportCache:   &pb.ExportCache{Value: false},
		ProgressGroup: &pb.ProgressGroup{Id: "g", Name: "group", Weak: true},
	}
	nested := &pb.Definition{Def: [][]byte{{}}}
	b.def.Source = &pb.Source{
		Infos: []*pb.SourceInfo{{Filename: "Dockerfile", Language: "Dockerfile", Data: []byte("FROM a\n"), Definition: nested}},
		Locations: map[string]*pb.Locations{in.Digest: {Locations: []*pb.Location{
			{SourceIndex: 7},
			{SourceIndex: -1},
			{SourceIndex: 0, Ranges: []*pb.Range{{Start: &pb.Position{Line: 1}, End: &pb.Position{Line: 1, Character: 6}}, nil}},
		}}},
	}
	v := load(t, b.done(in), Options{}).Result().Vertex
	no := false
	wantOptions := solver.VertexOptions{
		IgnoreCache: true,
		ExportCache: &no,
		Description: map[string]string{CustomName: "base"},
		Group:       &solver.ProgressGroup{ID: "g", Name: "group", Weak: true},
	}
	if diff := cmp.Diff(wantOptions, v.Options()); diff != "" {
		t.Error(diff)
	}
	if v.Name != "base" {
		t.Errorf("name %q", v.Name)
	}
	if len(v.Sources) != 1 || v.Sources[0].Info.Filename != "Dockerfile" {
		t.Fatalf("sources %+v", v.Sources)
	}
	wantRanges := []solver.Range{{Start: solver.Position{Line: 1}, End: solver.Position{Line: 1, Character: 6}}, {}}
	if diff := cmp.Diff(wantRanges, v.Sources[0].Ranges); diff != "" {
		t.Error(diff)
	}
	back, err := SourceInfoToPB(v.Sources[0].Info)
	if err != nil || len(back.Definition.GetDef()) != 1 {
		t.Errorf("nested definition did not come back: %v %v", back, err)
	}
	if again := RangesFromPB(RangesToPB(wantRanges)); !cmp.Equal(wantRanges, again) {
		t.Errorf("ranges came back as %v", again)
	}
}

func TestDerivedNames(t *testing.T) {
	b := newBuilder(t)
	src := b.add(sourceOp("local://ctx"))
	file := b.add(fileOp([]*pb.FileAction{
		{Input: -1, SecondaryInput: 0, Output: 0, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/a", Dest: "/b"}}},
		{Input: 1, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{Path: "/f"}}},
		{Input: 2, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{Oldpath: "old", Newpath: "/new"}}},
	}, src))
	diff := b.add(&pb.Op{Inputs: []*pb.Input{file}, Op: &pb.Op_Diff{Diff: &pb.DiffOp{
		Lower: &pb.LowerDiffInput{Input: -1}, Upper: &pb.UpperDiffInput{Input: 0},
	}}})
	pass := b.add(&pb.Op{Inputs: []*pb.Input{diff}, Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "p", Outputs: []int64{0}}}})
	build := b.add(&pb.Op{Inputs: []*pb.Input{pass}, Op: &pb.Op_Build{Build: &pb.BuildOp{Builder: -1, Inputs: map[string]*pb.BuildInput{"x": {}}}}})
	got := names(load(t, b.done(build), Options{}))
	actions := "copy /a /b, mkfile /f, symlink /new -> old"
	want := []string{"local://ctx", actions, "diff scratch -> (" + actions + ")", "passthrough p", "build"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A chain in which every merge takes the one before twice would have a name
// of 2^60 bytes.
func TestDerivedNameIsBounded(t *testing.T) {
	b := newBuilder(t)
	in := b.add(sourceOp("local://ctx"))
	for range 60 {
		in = b.add(mergeOp(in, in))
	}
	name := load(t, b.done(in), Options{}).Result().Vertex.Name
	if len(name) > 2*maxDerivedName || !strings.HasSuffix(name, "…)") {
		t.Errorf("name of %d bytes ends in %q", len(name), name[max(0, len(name)-20):])
	}
}

func TestLoadDeepChain(t *testing.T) {
	b := newBuilder(t)
	in := b.add(sourceOp("docker-image://a"))
	for range 10000 {
		in = b.add(execOp(in))
	}
	def := b.done(in)
	if n := load(t, def, Options{}).Len(); n != 10001 {
		t.Errorf("%d vertices", n)
	}
	if _, err := Load(t.Context(), def, Options{Limits: Limits{Depth: 10000}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("too deep: %v", err)
	}
}

func TestLoadStopsWithContext(t *testing.T) {
	b := newBuilder(t)
	def := b.done(b.add(sourceOp("docker-image://a")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, def, Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
