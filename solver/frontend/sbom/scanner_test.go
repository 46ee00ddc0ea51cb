package sbom

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

var platform = ocispecs.Platform{OS: "linux", Architecture: "arm64"}

// bridge knows one image.
type bridge struct {
	frontend.Bridge
	meta *frontend.SourceMeta
	err  error
}

func (b bridge) ResolveSource(_ context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	if opt.Platform.Architecture != "arm64" || opt.ResolveMode != "local" {
		return nil, errors.New("asked for another image")
	}
	if b.meta != nil && b.meta.Op == nil {
		b.meta.Op = op
	}
	return b.meta, b.err
}

func open(t *testing.T, meta *frontend.SourceMeta, err error, params map[string]string) (*Scanner, error) {
	t.Helper()
	return Open(t.Context(), bridge{meta: meta, err: err}, Options{Generator: "docker.io/a/s:1", Params: params}, platform, "local")
}

const config = `{"config":{"Entrypoint":["/e"],"Cmd":["c"],"WorkingDir":"/w","Env":["PATH=/p","BUILDKIT_SCAN_SOURCE=x"]}}`

func TestScan(t *testing.T) {
	pin := digest.FromString("s")
	s, err := open(t, &frontend.SourceMeta{Image: &frontend.ImageMeta{Digest: pin, Config: []byte(config)}}, nil, map[string]string{"B": "2", "A": "1=1"})
	if err != nil {
		t.Fatal(err)
	}
	core := compose.Files(compose.Scratch(), compose.Info{}, compose.Mkdir{Path: "/d"})
	def, err := compose.Marshal(s.Scan(Target{Name: "linux/s390x", Core: core, IgnoreCache: true}), compose.Options{
		Platform: ocispecs.Platform{OS: "linux", Architecture: "s390x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var exec *pb.Op
	for _, data := range def.Def {
		op := &pb.Op{}
		if err := proto.Unmarshal(data, op); err != nil {
			t.Fatal(err)
		}
		if src := op.GetSource(); src != nil && src.Identifier != "docker-image://docker.io/a/s:1@"+pin.String() {
			t.Errorf("scanner is %s", src.Identifier)
		}
		if op.GetExec() != nil {
			exec = op
			meta := def.Metadata[digest.FromBytes(data).String()]
			if !meta.IgnoreCache || meta.Description["llb.customname"] != "[linux/s390x] generating sbom using docker.io/a/s:1" {
				t.Errorf("metadata is %v", meta)
			}
		}
	}
	m := exec.GetExec().GetMeta()
	env := []string{"PATH=/p", "BUILDKIT_SCAN_SOURCE=/run/src/core/sbom", "BUILDKIT_SCAN_DESTINATION=/run/out/", "BUILDKIT_SCAN_A=1=1", "BUILDKIT_SCAN_B=2"}
	if exec.GetPlatform().GetArchitecture() != "arm64" || !slices.Equal(m.Args, []string{"/e", "c"}) || m.Cwd != "/w" || !slices.Equal(m.Env, env) {
		t.Errorf("process is %v", exec)
	}
	for _, mount := range exec.GetExec().GetMounts() {
		if mount.Readonly != (mount.Dest == "/run/src/core/sbom") {
			t.Errorf("mount is %v", mount)
		}
	}
}

func TestOpen(t *testing.T) {
	image := &frontend.ImageMeta{Config: []byte(config)}
	for name, tc := range map[string]struct {
		meta *frontend.SourceMeta
		err  error
		want string
	}{
		"unknown":  {nil, errors.New("gone"), "sbom generator docker.io/a/s:1: gone"},
		"no image": {&frontend.SourceMeta{}, nil, "knows nothing"},
		"replaced": {&frontend.SourceMeta{Op: &pb.SourceOp{Identifier: "https://x"}, Image: image}, nil, "not an image"},
		"bad name": {&frontend.SourceMeta{Op: &pb.SourceOp{Identifier: "docker-image://A!"}, Image: image}, nil, "invalid reference"},
		"bad":      {&frontend.SourceMeta{Image: &frontend.ImageMeta{Config: []byte("[]")}}, nil, "configuration of sbom generator"},
		"no cmd":   {&frontend.SourceMeta{Image: &frontend.ImageMeta{Config: []byte("{}")}}, nil, "scanner docker.io/a/s:1 does not have cmd"},
	} {
		if _, err := open(t, tc.meta, tc.err, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := open(t, &frontend.SourceMeta{Op: &pb.SourceOp{Identifier: "docker-image://r.test/b:2"}, Image: image}, nil, nil)
	if err != nil || s.image != "r.test/b:2" {
		t.Errorf("scanner is %+v, %v", s, err)
	}
}

func TestRequested(t *testing.T) {
	o, err := Requested(map[string]string{"attest:sbom": "", "attest:provenance": "x"})
	if err != nil || o.Generator != "docker.io/docker/buildkit-syft-scanner:stable-1" || len(o.Params) != 0 {
		t.Errorf("options are %+v, %v", o, err)
	}
	o, err = Requested(map[string]string{"attest:sbom": "generator=x/y,a=b"})
	if err != nil || o.Generator != "docker.io/x/y:latest" || len(o.Params) != 1 || o.Params["a"] != "b" {
		t.Errorf("options are %+v, %v", o, err)
	}
	if o, err := Requested(map[string]string{"attest:provenance": ""}); o != nil || err != nil {
		t.Errorf("options are %+v, %v", o, err)
	}
}

func TestDescribed(t *testing.T) {
	res := &frontend.Result{Attestations: map[string][]frontend.Attestation{"p": {{PredicateType: "other"}}}}
	if Described(res) {
		t.Error("another attestation is taken for a bill of materials")
	}
	res.Attestations["p"] = append(res.Attestations["p"], Attestation(nil))
	if !Described(res) {
		t.Error("the scanner's own attestation is not seen")
	}
}
