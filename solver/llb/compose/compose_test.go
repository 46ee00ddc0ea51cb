package compose

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

var testOptions = Options{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}, LocalUnique: "u"}

// marshalled returns the definition and what llb.Load makes of it.
func marshalled(t *testing.T, s State) (*Definition, *llb.Graph) {
	t.Helper()
	def, err := Marshal(s, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Marshal(s, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(def, again) {
		t.Error("marshalling twice gives two definitions")
	}
	graph, err := llb.Load(t.Context(), def, llb.Options{DefaultPlatform: testOptions.Platform})
	if err != nil {
		t.Fatal(err)
	}
	for v := range graph.All() {
		if v.Digest != v.Received {
			t.Errorf("%s: digest changed on the way", v.Name)
		}
	}
	return def, graph
}

// lastOp returns the operation that s ends in as it is on the wire.
func lastOp(t *testing.T, s State) (*pb.Op, *pb.OpMetadata) {
	t.Helper()
	def, graph := marshalled(t, s)
	ops, err := llb.Dump(def)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		if op.Digest == graph.Result().Vertex.Digest {
			return op.Op, op.OpMetadata
		}
	}
	t.Fatal("the result is not in the definition")
	return nil, nil
}

func image(ref string) State { return Image(ImageSource{Ref: ref}, Info{}) }

func wantCaps(t *testing.T, meta *pb.OpMetadata, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(meta.Caps))); diff != "" {
		t.Errorf("capabilities: %s", diff)
	}
}

func wantMessage(t *testing.T, want, got proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestScratch(t *testing.T) {
	for _, s := range []State{Scratch(), Merge(nil, Info{}), Merge([]State{{}, {}}, Info{}), Diff(State{}, State{}, Info{}), Files(State{}, Info{})} {
		def, err := Marshal(s, Options{})
		if err != nil || len(def.Def) != 0 || def.Metadata == nil {
			t.Errorf("%v %v", def, err)
		}
		if back, err := Import(t.Context(), def); err != nil || !back.IsScratch() {
			t.Errorf("imported %v %v", back, err)
		}
	}
}

func TestPointerAndOrder(t *testing.T) {
	base := image("alpine")
	left := Run(Exec{Args: []string{"a"}, Mounts: []Mount{{Dest: "/", Source: base}}}, Info{Name: "left"}).Root()
	right := Run(Exec{Args: []string{"b"}, Mounts: []Mount{{Dest: "/", Source: base}}}, Info{IgnoreCache: true}).Root()
	no := false
	def, graph := marshalled(t, Merge([]State{left, right, base}, Info{ExportCache: &no}))
	if graph.Len() != 4 || len(def.Def) != 5 {
		t.Fatalf("%d vertices of %d ops", graph.Len(), len(def.Def))
	}
	ops, err := llb.Dump(def)
	if err != nil {
		t.Fatal(err)
	}
	pointer := ops[4]
	if pointer.Op.Op != nil || pointer.Op.Inputs[0].Digest != graph.Result().Vertex.Digest.String() {
		t.Errorf("pointer is %v", pointer.Op)
	}
	wantCaps(t, pointer.OpMetadata, "constraints", "platform", "meta.ignorecache", "meta.description", "meta.exportcache")
	seen := map[string]bool{}
	for _, op := range ops {
		for _, in := range op.Op.Inputs {
			if !seen[in.Digest] {
				t.Errorf("%s comes before its input", op.Digest)
			}
		}
		seen[op.Digest.String()] = true
	}
	name := "merge (left, b, docker-image://docker.io/library/alpine:latest)"
	if graph.Result().Vertex.Name != name {
		t.Errorf("name %q", graph.Result().Vertex.Name)
	}
}

// Two nodes that are the same operation become one, with what both say.
func TestSameOperationsMeet(t *testing.T) {
	text := &Text{Filename: "Dockerfile", Data: []byte("x")}
	at := func(line int) []Location {
		return []Location{{Text: text, Ranges: []Range{{Start: Position{Line: line}, End: Position{Line: line}}}}, {}}
	}
	one := Image(ImageSource{Ref: "alpine"}, Info{Name: "one", Locations: at(1), Caps: []string{"source.image.checksum"}})
	two := Image(ImageSource{Ref: "docker.io/library/alpine:latest"}, Info{IgnoreCache: true, Name: "two", Description: map[string]string{"k": "v"}, Locations: at(2)})
	def, graph := marshalled(t, Files(one, Info{Locations: at(1)}, Copy{From: two, Src: "/a", Dest: "/b"}))
	if graph.Len() != 2 || len(def.Source.Infos) != 1 {
		t.Fatalf("%d vertices, %d texts", graph.Len(), len(def.Source.Infos))
	}
	v := graph.Result().Vertex.Inputs[0].Vertex
	if len(graph.Result().Vertex.Inputs) != 1 {
		t.Error("one input is written twice")
	}
	if v.Name != "one" || !v.Metadata.IgnoreCache || v.Metadata.Description["k"] != "v" || len(v.Sources) != 2 {
		t.Errorf("vertex is %+v", v)
	}
	wantCaps(t, v.Metadata, "source.image", "source.image.checksum")
}

func TestPlatforms(t *testing.T) {
	arm := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	base := Image(ImageSource{Ref: "alpine"}, Info{Platform: &arm})
	file := Files(base, Info{}, Mkdir{Path: "/d"})
	run := Run(Exec{Args: []string{"a"}, Mounts: []Mount{{Dest: "/", Source: file}}}, Info{WorkerFilters: []string{"id==1"}})
	op, _ := lastOp(t, run.Root())
	if op.Platform.GetArchitecture() != "arm64" || op.Constraints.Filter[0] != "id==1" {
		t.Errorf("platform %v, constraints %v", op.Platform, op.Constraints)
	}
	for _, s := range []State{file, Merge([]State{file, base}, Info{}), Diff(base, file, Info{}), Passthrough("x", []State{base}, Info{})[0], HTTP(HTTPSource{URL: "https://a"}, Info{Platform: &arm})} {
		if op, _ := lastOp(t, s); op.Platform != nil || op.Constraints == nil {
			t.Errorf("%v: platform %v, constraints %v", op.Op, op.Platform, op.Constraints)
		}
	}
	if op, _ := lastOp(t, image("alpine")); op.Platform.GetArchitecture() != "amd64" {
		t.Errorf("default platform %v", op.Platform)
	}
}

func TestInfo(t *testing.T) {
	yes := true
	info := Info{
		ExportCache: &yes,
		Group:       &Group{ID: "g", Name: "n", Weak: true},
		Resources:   &Resources{Memory: 1, MemorySwap: -1, CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CPUs: "0", MemoryNodes: "1"},
	}
	_, meta := lastOp(t, Run(Exec{Args: []string{"a"}, Mounts: []Mount{{Dest: "/"}}}, info).Root())
	meta.Caps = nil
	wantMessage(t, &pb.OpMetadata{
		ExportCache:   &pb.ExportCache{Value: true},
		ProgressGroup: &pb.ProgressGroup{Id: "g", Name: "n", Weak: true},
		LinuxResources: &pb.LinuxResources{
			Memory: 1, MemorySwap: -1, CpuShares: 2, CpuPeriod: 3, CpuQuota: 4, CpusetCpus: "0", CpusetMems: "1",
		},
	}, meta)
	if _, meta := lastOp(t, Image(ImageSource{Ref: "a"}, info)); meta.LinuxResources != nil {
		t.Error("an image has resource limits")
	}
}

func TestErrorsTravel(t *testing.T) {
	bad := errors.New("bad")
	failed := Failed(bad)
	base := image("alpine")
	run := func(s State) State {
		return Run(Exec{Args: []string{"a"}, Mounts: []Mount{{Dest: "/", Source: s}}}, Info{}).Root()
	}
	for name, s := range map[string]State{
		"run":         run(failed),
		"merge":       Merge([]State{base, failed}, Info{}),
		"lower":       Diff(failed, base, Info{}),
		"upper":       Diff(base, failed, Info{}),
		"files":       Files(failed, Info{}, Mkdir{}),
		"copy":        Files(base, Info{}, Copy{From: failed}),
		"build":       Build(failed, "", Info{}),
		"passthrough": Passthrough("x", []State{base, failed}, Info{})[0],
		"far away":    run(Merge([]State{base, run(failed)}, Info{})),
	} {
		if _, err := Marshal(s, testOptions); !errors.Is(err, bad) || !errors.Is(s.Err(), bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestImpossible(t *testing.T) {
	base := image("alpine")
	run := func(mounts ...Mount) State {
		return Run(Exec{Args: []string{"a"}, Mounts: mounts}, Info{}).Root()
	}
	root := Mount{Dest: "/", Source: base}
	for want, s := range map[string]State{
		"parse image reference":  image("UPPER"),
		"want http://":           HTTP(HTTPSource{URL: "ftp://a"}, Info{}),
		"it has no host":         Git(GitSource{URL: "https:///x"}, Info{}),
		"apart from the URL":     Git(GitSource{URL: "https://a/b#main"}, Info{}),
		"parse git remote":       Git(GitSource{URL: "https://a\x00"}, Info{}),
		"without arguments":      Run(Exec{Mounts: []Mount{root}}, Info{}).Root(),
		"without a root":         run(Mount{Dest: "/a"}),
		"two mounts at /":        run(root, root),
		"without a destination":  run(root, Mount{}),
		"must be a bind":         run(Mount{Dest: "/", Type: Tmpfs}),
		"takes no source":        run(root, Mount{Dest: "/a", Type: Secret, Source: base}),
		"no bind mount is there": Run(Exec{Args: []string{"a"}, Mounts: []Mount{root}}, Info{}).Output("/b"),
		"drops what is written":  Run(Exec{Args: []string{"a"}, Mounts: []Mount{root, {Dest: "/b", NoOutput: true}}}, Info{}).Output("/b"),
		"no file to read":        Build(Scratch(), "", Info{}),
		"file action is nil":     Files(base, Info{}, nil),
		"without an id":          Passthrough("", []State{base}, Info{})[0],
	} {
		if _, err := Marshal(s, testOptions); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestImport(t *testing.T) {
	arm := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	text := &Text{Filename: "f", Language: "l", Data: []byte("d")}
	base := Image(ImageSource{Ref: "alpine"}, Info{Platform: &arm, Name: "base", Locations: []Location{{Text: text, Ranges: []Range{{Start: Position{Line: 3}}}}}})
	run := Run(Exec{Args: []string{"a"}, Mounts: []Mount{{Dest: "/", Source: base}, {Dest: "/o"}}}, Info{})
	def, graph := marshalled(t, Files(run.Output("/o"), Info{}, Mkdir{Path: "/d"}))

	state, err := Import(t.Context(), def)
	if err != nil {
		t.Fatal(err)
	}
	back, _ := marshalled(t, state)
	wantMessage(t, def, back)
	if p := state.Platform(); p == nil || p.Architecture != "arm64" {
		t.Errorf("platform %v", p)
	}
	// Built upon, and beside the original: the operations meet.
	_, more := marshalled(t, Merge([]State{Files(state, Info{}, Mkdir{Path: "/e"}), base}, Info{}))
	if more.Len() != graph.Len()+2 {
		t.Errorf("%d vertices, want %d", more.Len(), graph.Len()+2)
	}
	for v := range graph.All() {
		if more.Lookup(v.Digest) == nil {
			t.Errorf("%s is another operation now", v.Name)
		}
	}
	def.Def = def.Def[1:]
	if _, err := Import(t.Context(), def); !errors.Is(err, llb.ErrInvalid) {
		t.Errorf("cut definition: %v", err)
	}
}

func TestDeepGraph(t *testing.T) {
	s := image("alpine")
	for range 10000 {
		s = Files(s, Info{}, Mkdir{Path: "/d"})
	}
	if _, graph := marshalled(t, s); graph.Len() != 10001 {
		t.Errorf("%d vertices", graph.Len())
	}
}
