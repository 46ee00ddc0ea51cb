package interop_test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/kilnbuild/kiln/test/daemon"
)

// place is where a mistake is; the folder is another one each time.
var place = regexp.MustCompile(`(?m)^\S*/Dockerfile:`)

// TestBuildxCalls compares what buildx prints of a Dockerfile that has
// everything it asks for: arguments, descriptions, secrets, and mistakes.
func TestBuildxCalls(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	archive, err := txtar.ParseFile(filepath.Join("testdata", "calls.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, f := range archive.Files {
		parts[f.Name] = string(f.Data)
	}
	dir := folder(t, "Dockerfile", parts["Dockerfile"], "a", "")
	for name, args := range map[string][]string{
		"outline": {"--call=outline"}, "targets": {"--call=targets"}, "subrequests.describe": {"--call=subrequests.describe"},
		"check": {"--call=check"}, "middle": {"--call=outline", "--target=Middle"},
		"targets.json": {"--call=targets,format=json"}, "outline.json": {"--call=outline,format=json"},
	} {
		out := b.run(append(append([]string{"build"}, args...), dir)...)
		if name != "check" { // A check that finds something fails.
			out.ok(t)
		}
		got := place.ReplaceAllString(out.stdout, "Dockerfile:")
		if strings.HasSuffix(name, ".json") {
			got = withoutSources(t, got)
		}
		if want := parts[name]; strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: %s\nwant:\n%s", name, got, want)
		}
	}
	meta := filepath.Join(t.TempDir(), "meta.json")
	b.run("build", "--check", "--metadata-file="+meta, dir).failed(t)
	if text := read(t, meta); !strings.Contains(text, `"StageNameCasing"`) {
		t.Errorf("metadata file of a check: %s", text)
	}
}

// withoutSources drops the texts of the files, which the parts have already.
func withoutSources(t *testing.T, text string) string {
	t.Helper()
	var all map[string]json.RawMessage
	decode(t, text, &all)
	if len(all["sources"]) == 0 {
		t.Errorf("no sources in %s", text)
	}
	i := strings.LastIndex(text, ",\n  \"sources\"")
	return text[:max(i, 0)] + "\n}\n"
}

// TestBuildxHistory goes through the commands on records.
func TestBuildxHistory(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo words of the past\n",
		"Bad", "FROM scratch\nCOPY nowhere /\n")
	meta, out := filepath.Join(t.TempDir(), "meta.json"), t.TempDir()
	b.run("build", "--metadata-file="+meta, dir).ok(t)
	var told struct {
		Ref string `json:"buildx.build.ref"`
	}
	decode(t, read(t, meta), &told)
	ref := filepath.Base(told.Ref)
	// A step that cannot begin is shown too.
	b.run("build", "--progress=plain", "--file="+filepath.Join(dir, "Bad"), dir).failed(t,
		"[1/1] COPY nowhere /", "ERROR: failed to calculate checksum", `"/nowhere": not found`, "Bad:2")

	if list := b.run("history", "ls", "--format={{.Ref}} {{.Status}}").ok(t).stdout; !strings.Contains(list, ref+" Completed") {
		t.Errorf("history ls says %s", list)
	}
	if list := b.run("history", "ls", "--filter=status=error").ok(t).stdout; !strings.Contains(list, "Bad") || strings.Contains(list, ref) {
		t.Errorf("history ls of failures says %s", list)
	}
	if shown := b.run("history", "inspect", ref).ok(t).stdout; !strings.Contains(shown, "Build Steps:") || !strings.Contains(shown, dir) {
		t.Errorf("history inspect says %s", shown)
	}
	if shown := b.run("history", "inspect", "^0").ok(t).stdout; !strings.Contains(shown, "Build Steps:\t4/4") || !strings.Contains(shown, ">>> COPY nowhere /") {
		t.Errorf("history inspect of a failure says %s", shown)
	}
	if logs := b.run("history", "logs", ref).ok(t); !strings.Contains(logs.stdout+logs.stderr, "words of the past") {
		t.Errorf("history logs says %s%s", logs.stdout, logs.stderr)
	}
	bundle := filepath.Join(out, "one.dockerbuild")
	b.run("history", "export", "--output="+bundle, ref).ok(t)
	if text := read(t, bundle); !strings.HasPrefix(text, "\x1f\x8b") {
		t.Errorf("exported record begins with %q", text[:min(len(text), 8)])
	}
	b.run("history", "rm", ref).ok(t)
	if list := b.run("history", "ls", "--format={{.Ref}}").ok(t).stdout; strings.Contains(list, ref) {
		t.Errorf("after rm, history ls says %s", list)
	}
	b.run("history", "rm", ref).failed(t, "not found")
}

// TestBuildxTrace prints what took how long.
func TestBuildxTrace(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	b.run("build", folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /traced\n")).ok(t)
	// Without a terminal the trace is printed instead of served.
	if trace := b.run("history", "trace").ok(t).stdout; !strings.Contains(trace, "COPY Dockerfile /traced") || !strings.Contains(trace, `"spans"`) {
		t.Errorf("trace is %s", trace)
	}
}

// TestBuildxImage reads an image of several platforms back, and the files that
// scripts read.
func TestBuildxImage(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	out, image := t.TempDir(), world.registry.Addr+"/buildx-image:1"
	dir := folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	meta, iid := filepath.Join(out, "meta.json"), filepath.Join(out, "iid")
	b.run("build", "--tag="+image, "--push", "--platform=linux/amd64,linux/arm64", "--attest=type=provenance,mode=max",
		"--annotation=index:org.example.note=yes", "--metadata-file="+meta, "--iidfile="+iid, dir).ok(t)
	var told struct {
		Digest     string                     `json:"containerimage.digest"`
		Name       string                     `json:"image.name"`
		Provenance map[string]json.RawMessage `json:"buildx.build.provenance/linux/arm64"`
	}
	decode(t, read(t, meta), &told)
	if told.Digest != read(t, iid) || told.Name != image || len(told.Provenance) == 0 {
		t.Errorf("metadata %+v, iidfile %s", told, read(t, iid))
	}
	shown := b.run("imagetools", "inspect", image).ok(t).stdout
	for _, want := range []string{told.Digest, "linux/amd64", "linux/arm64", "unknown/unknown", "attestation-manifest", "application/vnd.oci.image.index.v1+json"} {
		if !strings.Contains(shown, want) {
			t.Errorf("imagetools inspect does not say %q: %s", want, shown)
		}
	}
	if raw := b.run("imagetools", "inspect", "--raw", image).ok(t).stdout; !strings.Contains(raw, `"org.example.note"`) {
		t.Errorf("index without its annotation: %s", raw)
	}
	b.run("imagetools", "create", "--tag="+image+"-copy", image).ok(t)
}

// TestBuildxOutputs takes one result in several forms at once, and through
// standard output.
func TestBuildxOutputs(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	out := t.TempDir()
	dir := folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /file\n")
	b.run("build", "--provenance=false", "--output=type=docker,dest="+out+"/docker.tar", "--output=type=oci,dest="+out+"/oci.tar",
		"--output=type=oci,tar=false,dest="+out+"/layout", "--output=type=tar,dest="+out+"/files.tar", "--output=type=local,dest="+out+"/files",
		"--output=type=image,name=example.com/outputs:1", dir).ok(t)
	for _, name := range []string{"docker.tar", "oci.tar", "layout/oci-layout", "layout/index.json", "files.tar", "files/file"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	if list := ctr(t, d, "images", "ls", "-q").ok(t).stdout; !strings.Contains(list, "example.com/outputs:1\n") {
		t.Errorf("images: %s", list)
	}
	if tar := b.run("build", "--output=-", dir).ok(t).stdout; len(tar) < 1024 || !strings.Contains(tar, "ustar") {
		t.Errorf("standard output has %d bytes", len(tar))
	}
	b.run("build", "--output=type=cacheonly", dir).ok(t)
}

// TestBuildxPrune frees what is asked for.
func TestBuildxPrune(t *testing.T) {
	d := fresh(t, daemon.Config{})
	b := newBuildx(t, d.Address)
	b.run("build", folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")).ok(t)
	if shown := b.run("du", "--verbose").ok(t).stdout; !strings.Contains(shown, "source.local") || !strings.Contains(shown, "Reclaimable:") {
		t.Errorf("du says %s", shown)
	}
	b.run("prune", "--force", "--filter=type=source.local").ok(t)
	if shown := b.run("du", "--format=json").ok(t).stdout; strings.Contains(shown, "source.local") || shown == "" {
		t.Errorf("after prune of contexts, du says %s", shown)
	}
	b.run("prune", "--force", "--all", "--max-used-space=1gb").ok(t)
	if shown := b.run("prune", "--force", "--all", "--verbose").ok(t).stdout; !strings.Contains(shown, "Total:") {
		t.Errorf("prune says %s", shown)
	}
	if shown := b.run("du").ok(t).stdout; !strings.Contains(shown, "Total:\t\t0B") {
		t.Errorf("after prune, du says %s", shown)
	}
}

// TestBuildxDialStdio has another client build through buildx's own connection.
func TestBuildxDialStdio(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	program := foreign(t, "buildx")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				cmd := exec.Command(program, "dial-stdio")
				cmd.Env = append(os.Environ(), b.env...)
				cmd.Stdout, cmd.Stderr = conn, io.Discard
				in, err := cmd.StdinPipe()
				if err != nil || cmd.Start() != nil {
					return
				}
				_, _ = io.Copy(in, conn) // It ends when either side does.
				_ = in.Close()
				_ = cmd.Wait()
			}()
		}
	}()
	out := t.TempDir()
	dir := folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /through\n")
	args := append([]string{"--addr=unix://" + socket}, buildArgs(dir, "--output=type=local,dest="+out)...)
	run(t, "", nil, foreign(t, "buildctl"), args...).ok(t)
	if text := read(t, filepath.Join(out, "through")); text != read(t, filepath.Join(dir, "Dockerfile")) {
		t.Errorf("built %q", text)
	}
}
