package dockerfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func TestBuild(t *testing.T) {
	b := withDockerfile(t, "FROM img\nRUN make\nCOPY a /\n")
	result, err := b.solve()
	if err != nil {
		t.Fatal(err)
	}
	load := b.graphs[0]
	if load.names[0] != "[internal] load build definition from Dockerfile" || load.sources[0].Attrs["local.differ"] != "none" ||
		load.sources[0].Attrs["local.followpaths"] != `["Dockerfile","Dockerfile.dockerignore","dockerfile"]` {
		t.Errorf("definition %v %v", load.names, load.sources)
	}
	if b.graphs[1].names[0] != "[internal] load .dockerignore" {
		t.Errorf("ignore file %v", b.graphs[1].names)
	}
	want := []string{
		"[1/3] FROM docker.io/library/img:latest@" + imageDigest.String(), "[2/3] RUN make", "[internal] load build context", "[3/3] COPY a /",
	}
	if got := b.last().names; !slices.Equal(got, want) {
		t.Errorf("names %q", got)
	}
	if result.Ref == nil || len(result.Metadata[frontend.MetaImageConfig]) == 0 || len(result.Metadata[frontend.MetaBaseConfig]) == 0 {
		t.Errorf("result %v", result.Metadata)
	}
	var platforms frontend.Platforms
	if err := json.Unmarshal(result.Metadata[frontend.MetaPlatforms], &platforms); err != nil || len(platforms.Platforms) != 1 {
		t.Errorf("platforms %v, %v", platforms, err)
	}
	locations := b.last().def.Source
	if len(locations.Infos) != 1 || locations.Infos[0].Filename != "Dockerfile" || locations.Infos[0].Definition == nil || len(locations.Locations) != 3 {
		t.Errorf("locations %v", locations)
	}
}

func TestSeveralPlatforms(t *testing.T) {
	b := withDockerfile(t, "FROM --platform=$BUILDPLATFORM tool AS t\nFROM img\nCOPY --from=t a /\nENV K_KEY=1")
	result, err := b.solve("platform", "linux/amd64,linux/arm64", "build-arg:SOURCE_DATE_EPOCH", "5")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"linux/amd64", "linux/arm64"} {
		if result.Refs[id] == nil || len(result.Metadata["containerimage.config/"+id]) == 0 || string(result.Metadata["source.date.epoch/"+id]) != "5" {
			t.Errorf("%s is missing from %v", id, result.Metadata)
		}
	}
	slices.Sort(b.lookups)
	want := []string{
		"[linux/amd64 internal] load metadata for docker.io/library/img:latest", "[linux/amd64 internal] load metadata for docker.io/library/tool:latest",
		"[linux/arm64 internal] load metadata for docker.io/library/img:latest",
	}
	if !slices.Equal(b.lookups, want) {
		t.Errorf("looked up %q", b.lookups)
	}
	if len(b.warnings) != 1 {
		t.Errorf("%d warnings: one platform should give them", len(b.warnings))
	}
	if _, err := b.solve("platform", "linux/amd64", "multi-platform", "true"); err != nil {
		t.Error(err)
	}
	if _, err := b.solve("platform", "linux/amd64,linux/arm64", "multi-platform", "false"); err == nil {
		t.Error("two platforms in one result")
	}
}

func TestWarnings(t *testing.T) {
	b := withDockerfile(t, "FROM img AS Build\n")
	if _, err := b.solve(); err != nil {
		t.Fatal(err)
	}
	w := b.warnings[0]
	if string(w.Short) != "StageNameCasing: Stage name 'Build' should be lowercase (line 1)" || w.Level != 1 || w.Source.Filename != "Dockerfile" ||
		w.Ranges[0].Start.Line != 1 || !strings.HasSuffix(w.URL, "/stage-name-casing/") || string(w.Detail[0]) != "Stage names should be lowercase" {
		t.Errorf("warning %+v", w)
	}
	if want := head(b.graphs[0].def); w.Vertex != want || want == "" {
		t.Errorf("vertex %s, want %s", w.Vertex, want)
	}
	if _, err := b.solve("build-arg:BUILDKIT_DOCKERFILE_CHECK", "error=true"); err == nil || err.Error() != "lint violation found for rules: StageNameCasing" {
		t.Errorf("got %v", err)
	}
}

func TestErrorsNameFileAndLine(t *testing.T) {
	for text, line := range map[string]int{
		"FROM img\nFOO x":                    2,
		"FROM img\n\nRUN --mount=target=. x": 3,
		"FROM img\nENV x":                    2,
		"FROM a:":                            1,
	} {
		_, err := withDockerfile(t, text).solve()
		var placed *solver.SourceError
		if !errors.As(err, &placed) || placed.Ranges[0].Start.Line != line || placed.Info.Filename != "Dockerfile" || string(placed.Info.Data) != text {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := withDockerfile(t, "").solve(); err == nil || err.Error() != "the Dockerfile cannot be empty" {
		t.Errorf("empty: %v", err)
	}
	b := &bridge{t: t}
	if _, err := b.solve(); err == nil || !strings.HasPrefix(err.Error(), "failed to read dockerfile: open Dockerfile: ") {
		t.Errorf("none: %v", err)
	}
}

func TestLowerCaseName(t *testing.T) {
	b := &bridge{t: t, files: map[string]map[string]string{"local://dockerfile": {"dockerfile": "FROM img"}}}
	if _, err := b.solve(); err != nil {
		t.Error(err)
	}
}

func TestIgnoreFiles(t *testing.T) {
	b := withDockerfile(t, "FROM img\nCOPY a /\n")
	b.files["local://context"] = map[string]string{".dockerignore": "# no\nx\n!y\n"}
	if _, err := b.solve(); err != nil {
		t.Fatal(err)
	}
	excludes := func() string {
		for _, s := range b.last().sources {
			if s.Identifier == "local://context" {
				return s.Attrs["local.excludepatterns"]
			}
		}
		return "no context"
	}
	if got := excludes(); got != `["x","!y"]` {
		t.Errorf("excludes %s", got)
	}
	b.files["local://dockerfile"]["Dockerfile.dockerignore"] = "z"
	if _, err := b.solve(); err != nil || excludes() != `["z"]` {
		t.Errorf("excludes %s, %v", excludes(), err)
	}
}

func TestOtherFrontend(t *testing.T) {
	var got frontend.SolveRequest
	b := withDockerfile(t, "# syntax=example/front:1 --flag\nFROM img\n")
	b.forwarded = func(req frontend.SolveRequest) (*frontend.Result, error) {
		got = req
		return &frontend.Result{}, nil
	}
	if _, err := b.solve("target", "x"); err != nil {
		t.Fatal(err)
	}
	if got.Frontend != "gateway.v0" || got.Opts["source"] != "example/front:1" || got.Opts["cmdline"] != "example/front:1 --flag" || got.Opts["target"] != "x" {
		t.Errorf("request %+v", got)
	}
	if _, err := b.solve("build-arg:BUILDKIT_SYNTAX", "other"); err != nil || got.Opts["source"] != "other" {
		t.Errorf("override: %+v, %v", got, err)
	}
	if _, err := New().Solve(t.Context(), b, frontend.Request{}); err != nil || got.Opts["source"] != "example/front:1" {
		t.Errorf("without any option: %+v, %v", got, err)
	}
	b.forwarded = func(frontend.SolveRequest) (*frontend.Result, error) { return nil, errors.New("no such image") }
	_, err := b.solve()
	var placed *solver.SourceError
	if !errors.As(err, &placed) || placed.Ranges[0].Start.Line != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := b.solve("cmdline", "example/front:1", "source", "example/front:1"); err != nil {
		t.Errorf("a file that was handed over was forwarded: %v", err)
	}
}

func TestCapabilities(t *testing.T) {
	b := withDockerfile(t, "FROM img")
	if _, err := b.solve("frontend.caps", "moby.buildkit.frontend.contexts+forward,moby.buildkit.frontend.inputs"); err != nil {
		t.Error(err)
	}
	for _, caps := range []string{"what.ever", "what.ever+forward"} {
		_, err := b.solve("frontend.caps", caps)
		var missing *solver.CapError
		if !errors.As(err, &missing) || missing.Name != "what.ever" {
			t.Errorf("%s: %v", caps, err)
		}
	}
}

func TestRemoteContexts(t *testing.T) {
	const dockerfile = "FROM img\nCOPY a /\n"
	b := &bridge{t: t, files: map[string]map[string]string{"git://h/r.git#main:sub": {"Dockerfile": dockerfile}}}
	if _, err := b.solve("context", "https://h/r.git#main:sub"); err != nil {
		t.Fatal(err)
	}
	if b.graphs[0].names[0] != "[internal] load git source https://h/r.git#main:sub" || len(b.graphs) != 2 {
		t.Errorf("%v", b.graphs)
	}
	plain := &bridge{t: t, files: map[string]map[string]string{"https://h/f": {"context": "FROM img\n"}}}
	if _, err := plain.solve("context", "https://h/f"); err != nil {
		t.Error(err)
	}
	archive := &bridge{t: t, files: map[string]map[string]string{
		"https://h/f": {"context": string(archiveOf(t, time.Unix(7, 0))), "Dockerfile": dockerfile},
	}}
	if _, err := archive.solve("context", "https://h/f"); err != nil {
		t.Error(err)
	}
	input := &bridge{t: t}
	state := compose.Local(compose.LocalSource{Name: "in", SessionID: "s"}, compose.Info{})
	def, err := compose.Marshal(state, compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	input.files = map[string]map[string]string{"local://in": {"Dockerfile": dockerfile}}
	if _, err := New().Solve(t.Context(), input, frontend.Request{
		Opts: map[string]string{"contextsubdir": "d"}, Inputs: map[string]*pb.Definition{"context": def, "dockerfile": def},
	}); err != nil {
		t.Error(err)
	}
}

// archiveOf is a compressed archive with one file of this age.
func archiveOf(t *testing.T, when time.Time) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	if err := archive.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, ModTime: when}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestEpochOfContext(t *testing.T) {
	modified := int64(99)
	for name, meta := range map[string]*frontend.SourceMeta{
		"99": {HTTP: &frontend.HTTPMeta{LastModified: &modified}}, "7": {HTTP: &frontend.HTTPMeta{}},
	} {
		b := &bridge{t: t, files: map[string]map[string]string{"https://h/f": {"context": string(archiveOf(t, time.Unix(7, 0)))}}}
		b.files["local://dockerfile"] = map[string]string{"Dockerfile": "FROM scratch AS src\nADD https://h/f /\nFROM scratch\nENV a=b"}
		b.files["https://h/f"]["f"] = b.files["https://h/f"]["context"]
		b.meta = func(*pb.SourceOp) (*frontend.SourceMeta, error) { return meta, nil }
		result, err := b.solve("build-arg:SOURCE_DATE_EPOCH", "src")
		if err != nil || string(result.Metadata[frontend.MetaEpoch]) != name {
			t.Errorf("epoch %q, %v, want %s", result.Metadata[frontend.MetaEpoch], err, name)
		}
	}
}

func TestNamedContexts(t *testing.T) {
	const file = "FROM base AS st\nRUN x\nFROM img\nCOPY --from=st f /\nCOPY --from=other g /\n"
	b := withDockerfile(t, file)
	b.files["local://dir"] = map[string]string{".dockerignore": "skip"}
	if _, err := b.solve("context:st", "local:dir", "context:img", "docker-image://replaced:1", "context:other::linux/amd64", "https://h/r.git",
		"context:other", "local:wrong", "platform", "linux/amd64", "sharedkey:localdir:st", "key"); err != nil {
		t.Fatal(err)
	}
	ids := map[string]map[string]string{}
	for _, s := range b.last().sources {
		ids[s.Identifier] = s.Attrs
	}
	local := ids["local://dir"]
	if local["local.excludepatterns"] != `["skip"]` || local["local.sharedkeyhint"] != "context:st-key" || local["local.followpaths"] != `["f"]` {
		t.Errorf("local %v", local)
	}
	for _, id := range []string{"git://h/r.git", "docker-image://docker.io/library/replaced:1"} {
		if _, ok := ids[id]; !ok || len(ids) != 3 {
			t.Errorf("%s is not among %v", id, ids)
		}
	}
	for value, want := range map[string]string{
		"nonsense":           "invalid context specifier nonsense for st",
		"what:x":             "unsupported context source what for st",
		"git:x":              "invalid git context git:x",
		"oci-layout://a":     `oci-layout reference "a" has no digest`,
		"input:none":         "invalid input none for st",
		"docker-image://A:B": "invalid reference format: repository name (library/A) must be lowercase",
	} {
		if _, err := b.solve("context:st", value); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", value, err, want)
		}
	}
	if _, err := b.solve("context:st", "docker-image://scratch"); err != nil {
		t.Error(err)
	}
	layout := "oci-layout://store@" + imageDigest.String()
	if _, err := b.solve("context:st", layout); err != nil {
		t.Fatal(err)
	}
	if s := b.last().sources; !slices.ContainsFunc(s, func(s *pb.SourceOp) bool {
		return strings.HasPrefix(s.Identifier, "oci-layout://docker.io/library/st@") && s.Attrs["oci.store"] == "store"
	}) {
		t.Errorf("sources %v", s)
	}
}

func TestPolicyRedirect(t *testing.T) {
	b := withDockerfile(t, "FROM img\nRUN x\n")
	b.meta = func(op *pb.SourceOp) (*frontend.SourceMeta, error) {
		return &frontend.SourceMeta{
			Op:    &pb.SourceOp{Identifier: strings.Replace(op.Identifier, "/img:", "/changed:", 1)},
			Image: &frontend.ImageMeta{Digest: imageDigest, Config: []byte(imageConfig)},
		}, nil
	}
	if _, err := b.solve(); err != nil || b.last().sources[0].Identifier != "docker-image://docker.io/library/changed:latest@"+imageDigest.String() {
		t.Errorf("%v, %v", b.last().sources, err)
	}
	b.meta = func(op *pb.SourceOp) (*frontend.SourceMeta, error) {
		return &frontend.SourceMeta{Op: &pb.SourceOp{Identifier: "https://h/f"}, Image: &frontend.ImageMeta{}}, nil
	}
	if _, err := b.solve("context:img", "docker-image://img"); err != nil || b.last().sources[0].Identifier != "https://h/f" {
		t.Errorf("%v, %v", b.last().sources, err)
	}
	if _, err := b.solve(); err == nil {
		t.Error("a base image became a download")
	}
}

func TestOptions(t *testing.T) {
	b := withDockerfile(t, "FROM img\nRUN x\n")
	if _, err := b.solve("add-hosts", "a=1.2.3.4", "shm-size", "1024", "ulimit", "nofile=1:2", "memory", "5", "cpusetcpus", "0-3,7",
		"hostname", "h", "no-cache", "", "cache-from", "r1,r2", "label:a", "b", "force-network-mode", "none"); err != nil {
		t.Fatal(err)
	}
	exec := b.last().execs[0]
	if exec.Meta.ExtraHosts[0].Host != "a" || exec.Meta.Ulimit[0].Hard != 2 || exec.Meta.Hostname != "h" || exec.Network != pb.NetMode_NONE || len(exec.Mounts) != 2 {
		t.Errorf("exec %v", exec)
	}
	for _, encoded := range b.last().def.Def {
		meta := b.last().def.Metadata[digest.FromBytes(encoded).String()]
		if strings.HasPrefix(meta.GetDescription()["llb.customname"], "[2/2]") && (!meta.IgnoreCache || meta.LinuxResources.GetMemory() != 5) {
			t.Errorf("metadata %v", meta)
		}
	}
	for option, want := range map[string]string{
		"add-hosts=a":                "failed to parse additional hosts: invalid key-value pair a",
		"add-hosts=a=b":              "failed to parse additional hosts: failed to parse IP b",
		"shm-size=x":                 `failed to parse shm size: strconv.ParseInt: parsing "x": invalid syntax`,
		"memory=0":                   "failed to parse resource limits: invalid memory value: 0: must be > 0",
		"memswap=-2":                 "failed to parse resource limits: invalid memswap value: -2: must be -1 (unlimited) or > 0",
		"force-network-mode=x":       "invalid netmode x",
		"image-resolve-mode=x":       "invalid image-resolve-mode: x",
		"multi-platform=x":           "invalid boolean value for multi-platform: x",
		"override-copy-image=x":      `support for "override-copy-image" was removed in BuildKit 0.11`,
		"requestid=frontend.unknown": "unsupported request frontend.unknown",
	} {
		name, value, _ := strings.Cut(option, "=")
		if _, err := b.solve(name, value); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", option, err, want)
		}
	}
}

func TestHostileFilesEndQuickly(t *testing.T) {
	undefined := func(lines int) string {
		var out strings.Builder
		for line := range lines {
			out.WriteString("ENV x=")
			for i := range 5000 {
				fmt.Fprintf(&out, "${v%d_%d}", line, i)
			}
			out.WriteString("\n")
		}
		return out.String()
	}
	defined := func(keyword string, n int) string {
		var out strings.Builder
		for i := range n {
			fmt.Fprintf(&out, "%s v%d=%s\n", keyword, i, strings.Repeat("x", 50))
		}
		return out.String()
	}
	for _, tc := range []struct {
		name, text string
		fails      bool
	}{
		{"ten megabytes", "FROM img\n" + strings.Repeat("RUN "+strings.Repeat("x", 1000)+"\n", 10_000), true},
		{"a hundred thousand stages", strings.Repeat("FROM img\n", 100_000), true},
		{"a tower of stages", towers(1990), false},
		{"recursive argument", "ARG a=xxxxxxxx\n" + strings.Repeat("ARG a=$a$a\n", 60) + "FROM $a", true},
		{"nested substitution", "FROM img\nENV a=" + strings.Repeat("${b:-", 8000) + "x" + strings.Repeat("}", 8000), true},
		{"a bomb in many steps", "FROM img\nARG a=" + strings.Repeat("x", 60000) + "\n" + strings.Repeat("ENV b=$a$a$a\nRUN x\n", 1900), true},
		{"a line without an ending", "FROM img\nRUN " + strings.Repeat("x", 1<<20), true},
		{"undefined variables", "FROM img\n" + defined("ENV", 2000) + undefined(40), false},
		{"arguments and stages", defined("ARG", 5000) + strings.Repeat("FROM img$u\n", 1990), false},
		{"patterns and sources", "FROM img\nCOPY " + strings.Repeat("--exclude=xxxxxxxx \\\n", 20_000) + strings.Repeat("a \\\n", 20_000) + " /\n", true},
		{"mounts", "FROM img\n" + strings.Repeat("RUN "+strings.Repeat("--mount=target=/x ", 400)+"y\n", 100), true},
	} {
		begin := time.Now()
		_, err := withDockerfile(t, tc.text).solve()
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", tc.name, err)
		}
		took := time.Since(begin)
		t.Logf("%s: %v", tc.name, took)
		if took > 30*time.Second {
			t.Errorf("%s took %v", tc.name, took)
		}
	}
}

// towers is a file with n stages, each on top of the one before and copying
// from it.
func towers(n int) string {
	var out strings.Builder
	out.WriteString("FROM img AS s0\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&out, "FROM s%d AS s%d\nCOPY --from=s%d a /\n", i-1, i, i-1)
	}
	return out.String()
}
