package provenance

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

const (
	pin    = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	commit = "0123456789012345678901234567890123456789"
)

// facts are those of a build from a git repository with everything in it.
func facts(t *testing.T) *Facts {
	t.Helper()
	f := &Facts{
		Request: Request{Frontend: "dockerfile.v0", Args: map[string]string{
			"context": "https://me:pw@git.test/r.git#main:sub", "filename": "D", "build-arg:TOKEN": "x", "label:a": "b", "target": "t",
			"attest:provenance": "mode=max", "platform": "linux/arm64", "vcs:source": "https://me:pw@git.test/r.git", "vcs:revision": "1",
			"context:base": "https://u:p@x.test/a",
		}},
		Definition: definition(t),
	}
	amd := &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	f.Materials.Add(Material{Kind: HTTP, Ref: "https://u:p@x.test/a", Pin: pin})
	f.Materials.Add(Material{Kind: Git, Ref: "https://me:pw@git.test/r.git#main", Pin: commit})
	f.Materials.Add(Material{Kind: Image, Ref: "docker.io/library/busybox:latest@" + pin, Pin: pin, Platform: amd})
	f.Materials.Add(Material{Kind: Image, Ref: "docker.io/library/busybox:latest", Pin: pin, Platform: amd})
	f.Materials.Add(Material{Kind: Image, Ref: "docker.io/library/busybox:latest", Pin: pin, Platform: &ocispecs.Platform{OS: "linux", Architecture: "amd64"}})
	f.Exec(&pb.ExecOp{Network: pb.NetMode_NONE, Mounts: []*pb.Mount{
		{MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "s", Optional: true}},
		{MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{Optional: true}},
	}, Secretenv: []*pb.SecretEnv{{ID: "s"}}})
	return f
}

// definition is a graph of an image, a local source and a step.
func definition(t *testing.T) *pb.Definition {
	t.Helper()
	def := &pb.Definition{}
	add := func(op *pb.Op) string {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		def.Def = append(def.Def, data)
		return digest.FromBytes(data).String()
	}
	image := add(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "docker-image://docker.io/library/busybox:latest"}}})
	local := add(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "local://context", Attrs: map[string]string{"local.session": "of-client", "local.unique": "random", "local.differ": "none"}}}})
	step := add(&pb.Op{Inputs: []*pb.Input{{Digest: image}, {Digest: local}}, Op: &pb.Op_Exec{Exec: &pb.ExecOp{Meta: &pb.Meta{Args: []string{"make"}}}}})
	add(&pb.Op{Inputs: []*pb.Input{{Digest: step}}})
	def.Source = &pb.Source{
		Infos:     []*pb.SourceInfo{{Filename: "Dockerfile", Data: []byte("FROM busybox")}},
		Locations: map[string]*pb.Locations{step: {Locations: []*pb.Location{{}}}, "sha256:other": {}},
	}
	return def
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMax(t *testing.T) {
	p, err := facts(t).Predicate(Options{BuilderID: "me", Custom: map[string]any{"github": 1, "builderPlatform": "no"}})
	if err != nil {
		t.Fatal(err)
	}
	text := encode(t, p)
	for _, secret := range []string{"pw@", "me:", "u:p", "of-client", "random"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is told: %s", secret, text)
		}
	}
	ext := p.Definition.External
	if want := (ConfigSource{URI: "https://xxxxx:xxxxx@git.test/r.git#main:sub", Path: "D"}); ext.ConfigSource.URI != want.URI ||
		ext.ConfigSource.Path != want.Path || ext.ConfigSource.Digest["sha1"] != commit {
		t.Errorf("config source is %+v", ext.ConfigSource)
	}
	if a := ext.Request.Args; len(a) != 4 || a["build-arg:TOKEN"] != "x" || a["context:base"] != "https://xxxxx:xxxxx@x.test/a" {
		t.Errorf("arguments are %v", a)
	}
	if s := ext.Request; len(s.Secrets) != 1 || s.Secrets[0].Optional || len(s.SSH) != 1 || s.SSH[0] != (Forwarded{"default", true}) {
		t.Errorf("secrets are %+v, agents %+v", s.Secrets, s.SSH)
	}
	var uris []string
	for _, d := range p.Definition.Dependencies {
		uris = append(uris, d.URI)
	}
	want := []string{"pkg:docker/busybox@latest?platform=linux%2Famd64", "https://xxxxx:xxxxx@git.test/r.git#main", "https://xxxxx:xxxxx@x.test/a"}
	if !slices.Equal(uris, want) {
		t.Errorf("dependencies are %q", uris)
	}
	meta := p.Run.Metadata
	if !meta.Hermetic || !meta.Completeness.Request || !meta.Completeness.Dependencies || meta.Build.VCS["revision"] != "1" {
		t.Errorf("metadata is %+v", meta)
	}
	config := p.Definition.Internal.BuildConfig
	if len(config.Steps) != 4 || !slices.Equal(config.Steps[2].Inputs, []string{"step0:0", "step1:0"}) || len(config.Steps[1].Op.GetSource().GetAttrs()) != 1 {
		t.Errorf("steps are %s", encode(t, config))
	}
	if src := meta.Build.Source; len(src.Locations) != 1 || src.Locations["step2"] == nil || string(src.Infos[0].Data) != "FROM busybox" {
		t.Errorf("sources are %+v", src)
	}
	if !strings.Contains(text, `"github": 1`) || strings.Contains(text, `"builderPlatform": "no"`) {
		t.Errorf("custom fields: %s", text)
	}
}

func TestMin(t *testing.T) {
	f := facts(t)
	f.Request.Inputs = map[string]*Request{"in": {Args: map[string]string{"label:x": "y", "k": "v"}}}
	f.Root = &Request{Frontend: "gateway.v0", Args: map[string]string{"build-arg:A": "b", "source": "s"}}
	p, err := f.Predicate(Options{Min: true})
	if err != nil {
		t.Fatal(err)
	}
	req := p.Definition.External.Request
	if len(req.Args) != 2 || req.Secrets != nil || req.SSH != nil || len(req.Inputs["in"].Request.Args) != 1 || len(req.Root.Request.Args) != 1 {
		t.Errorf("request is %s", encode(t, req))
	}
	if p.Run.Metadata.Completeness.Request || p.Definition.Internal.BuildConfig != nil || p.Run.Metadata.Build.Source != nil {
		t.Errorf("predicate is %s", encode(t, p))
	}
}

func TestV02(t *testing.T) {
	p, err := facts(t).Predicate(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		BuildType  string
		Invocation struct {
			ConfigSource struct{ EntryPoint string }
			Environment  map[string]string
		}
		Materials []Dependency
		Metadata  map[string]any
	}
	if err := json.Unmarshal([]byte(encode(t, p.V02())), &v); err != nil {
		t.Fatal(err)
	}
	if v.BuildType != "https://mobyproject.org/buildkit@v1" || v.Invocation.ConfigSource.EntryPoint != "D" || len(v.Materials) != 3 ||
		v.Invocation.Environment["platform"] == "" || v.Metadata["https://mobyproject.org/buildkit@v1#hermetic"] != true {
		t.Errorf("predicate is %+v", v)
	}
}

func TestIncomplete(t *testing.T) {
	f := &Facts{Proxied: true, Unpinned: []Unpinned{{Op: "o", Name: "make", Method: "POST", URI: "https://x", Reason: "r"}}}
	f.Materials.Add(Material{Kind: LocalDir, Ref: "context"})
	f.Merge(&Facts{Unpinned: f.Unpinned, Network: true})
	_, err := f.Predicate(Options{CompleteMaterials: true})
	var missing *solver.MaterialsError
	if !errors.As(err, &missing) || len(missing.Missing) != 2 || missing.Missing[1].Method != "POST" {
		t.Fatalf("error is %#v", err)
	}
	for _, want := range []string{"provenance materials are incomplete\n", "\n  - context\n    reason: local_source", "\n  - make\n    method: POST\n    url: https://x\n    reason: r"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
	p, err := f.Predicate(Options{})
	if err != nil || p.Run.Metadata.Completeness.Dependencies || p.Run.Metadata.Hermetic || len(p.Run.Metadata.Build.Network.Proxy.Incomplete) != 1 {
		t.Errorf("predicate is %s, %v", encode(t, p), err)
	}
}

func TestMaterials(t *testing.T) {
	var ms Materials
	ms.Add(Material{Kind: Blob, Ref: "r.test/a", Pin: pin, Layout: true})
	ms.Add(Material{Kind: Git, Ref: "https://g/r", Pin: strings.Repeat("a", 64), Bundle: "docker-image+blob://r.test/b@" + pin})
	got, err := ms.dependencies()
	if err != nil || len(got) != 3 {
		t.Fatalf("dependencies are %+v, %v", got, err)
	}
	for i, want := range []string{
		"pkg:oci/r.test/a@latest?ref_type=blob", "https://g/r", "pkg:docker/r.test/b@latest?ref_type=bundle&vcs_url=https:%2F%2Fg%2Fr",
	} {
		if got[i].URI != want {
			t.Errorf("%d: %s, want %s", i, got[i].URI, want)
		}
	}
	if got[1].Digest["sha256"] == "" || got[2].Digest["sha256"] == "" {
		t.Errorf("digests are %+v", got)
	}
}

func TestParseOptions(t *testing.T) {
	o, err := ParseOptions(map[string]string{
		"mode": "min", "version": "v0.2", "builder-id": "x", "reproducible": "true", "inline-only": "1", "filename": "a,b", "unknown": "",
	})
	if err != nil || !o.Min || !o.V02 || o.BuilderID != "x" || !o.Reproducible || !o.InlineOnly || o.Filename != "a,b" {
		t.Errorf("options are %+v, %v", o, err)
	}
	for pair, want := range map[[2]string]string{
		{"mode", "x"}: `invalid mode "x"`, {"version", "2"}: "invalid provenance SLSA version: 2",
		{"reproducible", "x"}:      "failed to parse reproducible flag",
		{"complete-materials", ""}: "failed to parse complete-materials flag",
	} {
		if _, err := ParseOptions(map[string]string{pair[0]: pair[1]}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v: %v", pair, err)
		}
	}
}
