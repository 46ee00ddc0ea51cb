package interop_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// attested is a folder with a Dockerfile that wants a stage and the context
// scanned with its result.
func attested(t *testing.T) string {
	t.Helper()
	return folder(t, "Dockerfile", "FROM "+base(t, "busybox")+` AS tools
ARG BUILDKIT_SBOM_SCAN_STAGE=true
RUN echo made > /tool
FROM scratch
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
COPY --from=tools /tool /
COPY file /
`, "file", "text\n")
}

// provenance is what the tests look at of SLSA's version 1.
type provenance struct {
	BuildDefinition struct {
		ExternalParameters struct{ Request struct{ Frontend string } }
		InternalParameters struct {
			BuildConfig struct{ LLBDefinition []any }
		}
		ResolvedDependencies []struct {
			URI    string
			Digest map[string]string
		}
	}
	RunDetails struct {
		Metadata struct {
			Build struct {
				Layers   map[string][][]struct{ Digest string }
				SysUsage []struct {
					CPUStat, MemoryStat map[string]any
				}
			} `json:"buildkit_metadata"`
		}
	}
}

// dependsOn tells whether a source with a part of an URI is told and pinned.
func (p *provenance) dependsOn(part string) bool {
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		if strings.Contains(d.URI, part) && d.Digest["sha256"] != "" {
			return true
		}
	}
	return false
}

// spdx is what the tests look at of a bill of materials.
type spdx struct {
	Name, Params string
	CreationInfo struct{ Creators []string }
	Files        []struct{ FileName, Comment string }
}

// layered lists the files that are told with a layer.
func (s *spdx) layered() []string {
	var out []string
	for _, f := range s.Files {
		if strings.HasPrefix(f.Comment, "layerID: sha256:") {
			out = append(out, f.FileName)
		}
	}
	slices.Sort(out)
	return out
}

// TestBuildxAttestations has the real buildx ask for a bill of materials and
// for provenance, and read both from the registry and from the history.
func TestBuildxAttestations(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	image := world.registry.Addr + "/app:attested"
	b.run("build", "--progress=plain", "--attest=type=sbom,generator="+base(t, "scanner")+",PARAM=x", "--provenance=mode=max",
		"--tag="+image, "--push", attested(t)).ok(t)
	var bill struct{ SPDX spdx }
	decode(t, b.run("imagetools", "inspect", image, "--format={{json .SBOM}}").ok(t).stdout, &bill)
	if bill.SPDX.Name != "sbom" || bill.SPDX.Params != "x" || !slices.Equal(bill.SPDX.layered(), []string{"/file", "/tool"}) ||
		len(bill.SPDX.CreationInfo.Creators) != 2 {
		t.Errorf("bill of materials is %+v", bill)
	}
	var told struct{ SLSA provenance }
	decode(t, b.run("imagetools", "inspect", image, "--format={{json .Provenance}}").ok(t).stdout, &told)
	if !told.SLSA.dependsOn("/busybox") || len(told.SLSA.BuildDefinition.InternalParameters.BuildConfig.LLBDefinition) == 0 ||
		len(told.SLSA.RunDetails.Metadata.Build.Layers) == 0 {
		t.Errorf("provenance is %+v", told)
	}
	shown := b.run("history", "inspect").ok(t).stdout
	for _, want := range []string{"pkg:docker/", "busybox@latest", "https://slsa.dev/provenance/v1", "image.index"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the history does not show %q:\n%s", want, shown)
		}
	}
	var kept provenance
	decode(t, b.run("history", "inspect", "attachment", "--type=provenance").ok(t).stdout, &kept)
	inImage, inRecord := told.SLSA.RunDetails.Metadata.Build, kept.RunDetails.Metadata.Build
	if !kept.dependsOn("/busybox") || len(inRecord.SysUsage) == 0 || inRecord.SysUsage[0].MemoryStat["total"] == nil || len(inImage.SysUsage) != 0 {
		t.Errorf("provenance in the history is %+v, in the image %+v", kept, inImage)
	}
	// The record names the layers that the image has.
	for step, chains := range inImage.Layers {
		if !slices.ContainsFunc(inRecord.Layers[step], func(c []struct{ Digest string }) bool { return slices.Equal(c, chains[0]) }) {
			t.Errorf("layers of %s are %v in the record and %v in the image", step, inRecord.Layers[step], chains)
		}
	}
}

// TestBuildctlAttestations has the real buildctl write attestations beside
// files, and read the provenance of a build that asked for none.
func TestBuildctlAttestations(t *testing.T) {
	d := watch(t)
	dir, out := attested(t), t.TempDir()
	dockerfile(t, d, dir, "--opt=attest:sbom=generator="+base(t, "scanner"), "--opt=attest:provenance=mode=min",
		"--output=type=local,dest="+out).ok(t)
	for _, name := range []string{"sbom", "sbom-tools", "sbom-context"} {
		var s struct {
			Subject   []struct{ Name string }
			Predicate spdx
		}
		decode(t, read(t, filepath.Join(out, name+".spdx.json")), &s)
		if s.Predicate.Name != name || len(s.Subject) != 2 || len(s.Predicate.Files) == 0 {
			t.Errorf("%s is %+v", name, s)
		}
	}
	var s struct {
		PredicateType string
		Predicate     provenance
	}
	decode(t, read(t, filepath.Join(out, "provenance.json")), &s)
	if s.PredicateType != "https://slsa.dev/provenance/v1" || s.Predicate.BuildDefinition.ExternalParameters.Request.Frontend != "dockerfile.v0" {
		t.Errorf("provenance is %+v", s)
	}
	ref := filepath.Join(t.TempDir(), "ref")
	dockerfile(t, d, dir, "--ref-file="+ref).ok(t)
	var kept provenance
	list := record(t, d, read(t, ref)).Result.Attestations
	if len(list) != 1 {
		t.Fatalf("the record has %d attestations", len(list))
	}
	decode(t, buildctl(t, d, "debug", "get", list[0].Digest).ok(t).stdout, &kept)
	if !kept.dependsOn("/busybox") || len(kept.BuildDefinition.InternalParameters.BuildConfig.LLBDefinition) == 0 {
		t.Errorf("provenance in the history is %+v", kept)
	}
	dockerfile(t, d, dir, "--opt=attest:other=").failed(t, `unknown attestation type "other"`)
}

// TestRecordedPlatforms: each platform of a result has its provenance in the
// record.
func TestRecordedPlatforms(t *testing.T) {
	d := watch(t)
	ref := filepath.Join(t.TempDir(), "ref")
	dir := folder(t, "Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n", "file", "text\n")
	dockerfile(t, d, dir, "--opt=platform=linux/amd64,linux/arm64", "--ref-file="+ref).ok(t)
	results := record(t, d, read(t, ref)).Results
	seen := map[string]bool{}
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		list := results[platform].Attestations
		if len(list) != 1 || list[0].Annotations["in-toto.io/predicate-type"] != "https://slsa.dev/provenance/v1" {
			t.Fatalf("results are %+v", results)
		}
		text := buildctl(t, d, "debug", "get", list[0].Digest).ok(t).stdout
		seen[list[0].Digest] = strings.Contains(text, strings.TrimPrefix(platform, "linux/"))
	}
	if len(seen) != 2 {
		t.Errorf("provenance is %v", seen)
	}
}

// info is what a record tells of one result.
type info struct {
	Attestations []struct {
		Digest      string
		Annotations map[string]string
	}
}

// history is what the tests look at of a record.
type history struct {
	Ref     string
	Result  info
	Results map[string]info
}

// record reads the record of a build.
func record(t *testing.T, d *daemon.Daemon, ref string) history {
	t.Helper()
	lines := json.NewDecoder(strings.NewReader(buildctl(t, d, "debug", "histories", "--format={{json .}}").ok(t).stdout))
	for lines.More() {
		var ev struct{ Record history }
		if err := lines.Decode(&ev); err != nil {
			t.Fatal(err)
		}
		if ev.Record.Ref == ref {
			return ev.Record
		}
	}
	t.Fatalf("history has no build %s", ref)
	return history{}
}

func decode(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
