package dockerfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/frontend"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

const scannedFile = `ARG BUILDKIT_SBOM_SCAN_STAGE=mid,last
FROM img AS unasked
RUN one
FROM img AS base
ARG BUILDKIT_SBOM_SCAN_STAGE=1
RUN two
FROM base AS mid
RUN three
FROM base AS other
ARG BUILDKIT_SBOM_SCAN_STAGE=false
RUN four
FROM scratch AS last
ARG BUILDKIT_SBOM_SCAN_CONTEXT
COPY --from=mid a /
COPY --from=other a /b
COPY --from=unasked a /c
COPY --from=img d e /
COPY f /
`

func TestScan(t *testing.T) {
	b := withDockerfile(t, scannedFile)
	b.meta = func(op *pb.SourceOp) (*frontend.SourceMeta, error) {
		config := imageConfig
		if strings.Contains(op.Identifier, "r.test/scanner") {
			config = `{"config":{"Entrypoint":["/scan"]}}`
		}
		return &frontend.SourceMeta{Op: op, Image: &frontend.ImageMeta{Digest: imageDigest, Config: []byte(config)}}, nil
	}
	result, err := b.solve("platform", "linux/amd64,linux/arm64", "attest:sbom", "generator=r.test/scanner,K=v", "build-arg:BUILDKIT_SBOM_SCAN_CONTEXT", "true")
	if err != nil {
		t.Fatal(err)
	}
	scans := 0
	for id, list := range result.Attestations {
		scans++
		if len(list) != 1 || list[0].Kind != frontend.AttestationBundle || list[0].Ref == nil || result.Refs[id] == nil {
			t.Fatalf("attestations of %s are %+v", id, list)
		}
		g := list[0].Ref.(*ref).graph
		if !slices.Contains(g.names, "["+id+"] generating sbom using r.test/scanner:latest") {
			t.Errorf("steps are %q", g.names)
		}
		i := slices.IndexFunc(g.execs, func(e *pb.ExecOp) bool { return e.Meta.Args[0] == "/scan" })
		var dests []string
		for _, m := range g.execs[i].Mounts {
			dests = append(dests, m.Dest)
		}
		want := []string{
			"/", "/run/out", "/run/src/core/sbom", "/run/src/extras/sbom-base", "/run/src/extras/sbom-context", "/run/src/extras/sbom-mid", "/tmp",
		}
		if !slices.Equal(dests, want) {
			t.Errorf("%s: mounts at %q", id, dests)
		}
		if env := g.execs[i].Meta.Env; !slices.Contains(env, "BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras") || !slices.Contains(env, "BUILDKIT_SCAN_K=v") {
			t.Errorf("%s: environment %q", id, env)
		}
		// What is scanned is what is built.
		for _, op := range result.Refs[id].(*ref).graph.def.Def[:3] {
			if !slices.ContainsFunc(g.def.Def, func(other []byte) bool { return string(other) == string(op) }) {
				t.Errorf("%s: the scanned result has other steps", id)
			}
		}
	}
	if scans != 2 {
		t.Errorf("%d platforms are scanned", scans)
	}
}

func TestScanRefused(t *testing.T) {
	for option, want := range map[string]string{
		"generator=":              "sbom generator cannot be empty",
		"generator=A!":            "failed to parse sbom generator A!",
		"generator=r.test/nobody": "scanner r.test/nobody:latest does not have cmd",
	} {
		if _, err := withDockerfile(t, "FROM img").solve("attest:sbom", option); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", option, err)
		}
	}
}
