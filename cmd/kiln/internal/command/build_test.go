package command

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/secrets"
	"github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
	"github.com/kilnbuild/kiln/solver/pb/upload"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// The form of buildctl: every flag reaches the wire, the session serves what
// was named, results arrive, the response is written.
func TestBuildctlForm(t *testing.T) {
	d := fakedaemon.Start(t)
	dir, out := tree(t, "Dockerfile", "a/b"), t.TempDir()
	policy := filepath.Join(out, "policy")
	if err := os.WriteFile(policy, []byte(`{"version":1,"rules":[{"action":"DENY","selector":{"identifier":"x","match_type":1}}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	d.OnSolve = func(ctx context.Context, req *control.SolveRequest, s *session.Session) (map[string]string, error) {
		list, err := offered(ctx, s, "context")
		same(t, "context", []string{"Dockerfile", "a", "a/b"}, list)
		_, missing := offered(ctx, s, "other")
		if missing == nil {
			t.Error("a directory that was not named is offered")
		}
		sec, err2 := secrets.NewSecretsClient(s.Conn()).GetSecret(ctx, &secrets.GetSecretRequest{ID: "S"})
		same(t, "secret", "a/b", string(sec.GetData()))
		result, err3 := files.OpenDir(dir, files.Patterns{})
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, err
		}
		defer result.Close()
		if err := files.Push(ctx, s, files.Target{ID: 1}, result, nil); err != nil {
			return nil, err
		}
		w, err := files.PushStream(ctx, s, files.Target{ID: 2})
		if err != nil {
			return nil, err
		}
		_, err = w.Write([]byte("the tar"))
		desc := base64.StdEncoding.EncodeToString([]byte(`{"size":7}`))
		return map[string]string{"containerimage.descriptor": desc, "image.name": "x"}, errors.Join(err, w.Close())
	}
	c := &cli{env: map[string]string{"SOURCE_DATE_EPOCH": "5"}}
	err := c.run(t, d, "build", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--opt", "target=t", "--no-cache",
		"--output", "type=image,name=x", "--output", "type=local,dest="+out+"/files", "-o", "type=tar",
		"--export-cache", "type=inline", "--import-cache", "r.example/c", "--allow", "network.host", "--proxy-network",
		"--secret", "id=S,src="+dir+"/a/b", "--source-policy-file", policy, "--progress", "plain",
		"--metadata-file", out+"/md", "--ref-file", out+"/ref", "--trace", out+"/trace")
	if err != nil {
		t.Fatalf("%v\n%s", err, c.stderr.String())
	}
	req := lastSolve(t, d)
	same(t, "request", &control.SolveRequest{
		Ref: req.GetRef(), Session: req.GetSession(), Frontend: "dockerfile.v0",
		FrontendAttrs: map[string]string{"target": "t", "no-cache": "", "build-arg:SOURCE_DATE_EPOCH": "5",
			"cache-imports": `[{"Type":"registry","Attrs":{"ref":"r.example/c"}}]`},
		Exporters:          []*control.Exporter{{Type: "image", Attrs: map[string]string{"name": "x"}}, {Type: "local"}, {Type: "tar"}},
		ExporterDeprecated: "image", ExporterAttrsDeprecated: map[string]string{"name": "x"},
		Cache: &control.CacheOptions{
			Exports: []*control.CacheOptionsEntry{{Type: "inline", Attrs: map[string]string{"mode": "min"}}},
			Imports: []*control.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": "r.example/c"}}},
		},
		Entitlements: []string{"network.host"}, ProxyNetwork: true,
		SourcePolicy: &sourcepolicy.Policy{Version: 1, Rules: []*sourcepolicy.Rule{{
			Action: sourcepolicy.PolicyAction_DENY, Selector: &sourcepolicy.Selector{Identifier: "x", MatchType: sourcepolicy.MatchType_EXACT},
		}}},
	}, req)
	same(t, "stdout", "the tar", c.out.String())
	for path, want := range map[string]string{
		"files/a/b": "a/b", "ref": req.GetRef(), "md": "{\n  \"containerimage.descriptor\": {\n    \"size\": 7\n  },\n  \"image.name\": \"x\"\n}",
	} {
		data, _ := os.ReadFile(filepath.Join(out, path))
		same(t, path, want, string(data))
	}
}

// The form of people, in terms of the other.
func TestPeopleForm(t *testing.T) {
	dir := tree(t, "Dockerfile", "sub/Other")
	pod := tree(t, "Containerfile")
	for _, c := range []struct {
		args    string
		attrs   map[string]string
		exports []*control.Exporter
		allow   []string
		err     string
	}{
		{args: dir, attrs: map[string]string{"filename": "Dockerfile"}},
		{args: pod, attrs: map[string]string{"filename": "Containerfile"}},
		{args: "-f " + dir + "/sub/Other " + dir, attrs: map[string]string{"filename": "Other"}},
		{args: "-t a -t b --push " + dir, attrs: map[string]string{"filename": "Dockerfile"},
			exports: []*control.Exporter{{Type: "image", Attrs: map[string]string{"name": "a,b", "push": "true"}}}},
		{args: "--target x --build-arg A=1 --build-arg E --build-arg U --label l --platform p/a,p/b --pull --no-cache --add-host h:1.2.3.4 --add-host i=::1 --network host " + dir,
			attrs: map[string]string{"filename": "Dockerfile", "target": "x", "build-arg:A": "1", "build-arg:E": "env", "label:l": "", "platform": "p/a,p/b",
				"image-resolve-mode": "pull", "no-cache": "", "add-hosts": "h=1.2.3.4,i=::1", "force-network-mode": "host"},
			allow: []string{"network.host"}},
		{args: "https://example.com/x.git#main", attrs: map[string]string{"context": "https://example.com/x.git#main"}},
		{args: "-f sub/D git@example.com:x.git", attrs: map[string]string{"context": "git@example.com:x.git", "filename": "sub/D"}},
		{args: "--push " + dir, err: "-t NAME"},
		{args: "--frontend x " + dir, err: "--frontend goes with"},
		{args: "--add-host x " + dir, err: "want NAME:IP"},
		{args: "--network moon " + dir, err: "want default, none or host"},
		{args: dir + "/sub", err: "no Dockerfile at"},
		{args: "-f - -", err: "only one of"},
	} {
		t.Run(c.args, func(t *testing.T) {
			d := fakedaemon.Start(t)
			line := &cli{env: map[string]string{"E": "env"}}
			err := line.run(t, d, append([]string{"b", "--progress=quiet"}, strings.Fields(c.args)...)...)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			req := lastSolve(t, d)
			same(t, "frontend", "dockerfile.v0", req.GetFrontend())
			same(t, "options", c.attrs, req.GetFrontendAttrs())
			same(t, "exporters", c.exports, req.GetExporters())
			same(t, "entitlements", c.allow, req.GetEntitlements())
		})
	}
}

// A context or a Dockerfile from the standard input.
func TestStdin(t *testing.T) {
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	if err := errors.Join(tw.WriteHeader(&tar.Header{Name: "x", Mode: 0o600}), tw.Close()); err != nil {
		t.Fatal(err)
	}
	t.Run("archive", func(t *testing.T) {
		d := fakedaemon.Start(t)
		d.OnSolve = func(ctx context.Context, req *control.SolveRequest, s *session.Session) (map[string]string, error) {
			got, err := pull(ctx, s, strings.TrimPrefix(req.GetFrontendAttrs()["context"], "http://buildkit-session"))
			same(t, "upload", archive.Bytes(), got)
			return nil, err
		}
		if err := (&cli{stdin: archive.String()}).run(t, d, "build", "--progress=quiet", "-"); err != nil {
			t.Fatal(err)
		}
	})
	for _, args := range [][]string{{"-"}, {"-f", "-", tree(t, "a")}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			d := fakedaemon.Start(t)
			d.OnSolve = func(ctx context.Context, _ *control.SolveRequest, s *session.Session) (map[string]string, error) {
				list, err := offered(ctx, s, "dockerfile")
				same(t, "dockerfile", []string{"Dockerfile"}, list)
				return nil, err
			}
			if err := (&cli{stdin: "FROM scratch\n"}).run(t, d, append([]string{"build", "--progress=quiet"}, args...)...); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// pull fetches an upload.
func pull(ctx context.Context, s *session.Session, path string) ([]byte, error) {
	stream, err := upload.NewUploadClient(s.Conn()).Pull(outgoing(ctx, "urlpath", path))
	if err != nil {
		return nil, err
	}
	var all []byte
	for {
		m, err := stream.Recv()
		if err != nil {
			return all, eof(err)
		}
		all = append(all, m.GetData()...)
	}
}

// LLB from the standard input.
func TestDefinition(t *testing.T) {
	def, err := compose.Marshal(compose.Image(compose.ImageSource{Ref: "docker.io/library/x:1"}, compose.Info{}), compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	d := fakedaemon.Start(t)
	c := &cli{stdin: string(data)}
	if err := c.run(t, d, "build", "--no-cache", "--progress=quiet"); err != nil {
		t.Fatal(err)
	}
	got := lastSolve(t, d).GetDefinition()
	same(t, "operations", def.GetDef(), got.GetDef())
	for id, md := range got.GetMetadata() {
		if !md.GetIgnoreCache() {
			t.Errorf("%s may come from the cache", id)
		}
	}
	if err := c.run(t, nil, "debug", "dump-llb"); err != nil || strings.Count(c.out.String(), "\n") != len(def.GetDef()) {
		t.Errorf("dump-llb: %v\n%s", err, c.out.String())
	}
	if err := c.run(t, nil, "debug", "dump-llb", "--dot", "-"); err != nil || !strings.HasPrefix(c.out.String(), "digraph {") {
		t.Errorf("dump-llb --dot: %v\n%s", err, c.out.String())
	}
	c.stdin = ""
	if err := c.run(t, d, "build"); err == nil || !strings.Contains(err.Error(), "empty definition") {
		t.Errorf("empty input: %v", err)
	}
	c.stdin = "\xff"
	if err := c.run(t, d, "build"); err == nil || !strings.Contains(err.Error(), "failed to parse input") {
		t.Errorf("broken input: %v", err)
	}
}

// A question to a frontend goes through the bridge and is printed.
func TestQuestion(t *testing.T) {
	d := fakedaemon.Start(t)
	d.Answer = map[string][]byte{"result.txt": []byte("TARGETS\n"), "result.json": []byte("{}")}
	c := &cli{}
	args := []string{"build", "--progress=quiet", "--frontend", "f", "--opt", "requestid=frontend.targets"}
	if err := c.run(t, d, args...); err != nil || c.out.String() != "TARGETS\n" {
		t.Errorf("%v\n%s", err, c.out.String())
	}
	same(t, "caps", "moby.buildkit.frontend.subrequests", lastSolve(t, d).GetFrontendAttrs()["frontend.caps"])
	delete(d.Answer, "result.txt")
	if err := c.run(t, d, args...); err != nil || c.out.String() != "result.json\n{}\n" {
		t.Errorf("%v\n%s", err, c.out.String())
	}
}

// What a failure prints: the progress, the place, the reasons, the text.
func TestFailure(t *testing.T) {
	d := fakedaemon.Start(t)
	d.OnSolve = func(context.Context, *control.SolveRequest, *session.Session) (map[string]string, error) {
		return nil, &solver.SourceError{
			Info:   &solver.SourceInfo{Filename: "Dockerfile", Data: []byte("FROM a\nRUN b\n\nRUN c \\\n  d\nRUN e\n")},
			Ranges: []solver.Range{{Start: solver.Position{Line: 4}, End: solver.Position{Line: 5}}},
			Err:    &rpcerr.DenyError{Messages: []string{"not today"}, Err: errors.New("exit code: 1")},
		}
	}
	c := &cli{}
	if err := c.run(t, d, "build", "--progress=plain", "--frontend", "f"); err == nil {
		t.Fatal("no error")
	}
	same(t, "stderr", `Dockerfile:4
--------------------
   3 |     
   4 | >>> RUN c \
   5 | >>>   d
   6 |     RUN e
--------------------
policy deny: not today
error: failed to solve: exit code: 1
`, c.stderr.String())
}

// Wrong flags fail before anything is dialled.
func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--frontend f --output type=local":          "output directory is required",
		"--frontend f --opt x":                      "invalid value x",
		"--frontend f --allow all":                  "unknown entitlement",
		"--frontend f --local context=/nowhere":     "local directory context",
		"--frontend f --secret id=s,src=/nowhere":   "secret s",
		"--frontend f --ssh a=/nowhere":             "ssh a",
		"--frontend f --source-policy-file /none":   "/none",
		"--frontend f --registry-auth-tlscontext x": "invalid value x",
		"--frontend f --oci-layout x":               "invalid value x",
		"a b":                                       "accepts at most 1 arg",
		"--log-format xml --frontend f":             "unsupported log type",
	} {
		c := &cli{}
		if err := c.run(t, nil, append([]string{"build"}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}
