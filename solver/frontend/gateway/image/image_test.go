package image

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// host is a builder that knows one image by any name, and runs a function in
// place of its program.
type host struct {
	config  ocispecs.Image
	program func(ctx context.Context, p executor.Process) error

	asked  []string
	spec   gateway.ContainerSpec
	closed int
	*gateway.Session
}

func (h *host) Solve(context.Context, frontend.SolveRequest) (*frontend.Result, error) {
	return &frontend.Result{Ref: struct{ frontend.Ref }{}}, nil
}

func (h *host) ResolveSource(_ context.Context, op *pb.SourceOp, _ frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	h.asked = append(h.asked, op.Identifier)
	data, err := json.Marshal(h.config)
	return &frontend.SourceMeta{Op: op, Image: &frontend.ImageMeta{Digest: digest.FromBytes(data), Config: data}}, err
}

func (h *host) Warn(context.Context, solver.WarningEvent) error { return nil }

func (h *host) Info() frontend.Info {
	return frontend.Info{SessionID: "s", Product: "kiln", Workers: []frontend.WorkerInfo{
		{ID: "w", Platforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}},
	}}
}

func (h *host) OpenSession(context.Context, map[string]*pb.Definition) *gateway.Session {
	h.Session = gateway.NewSession(gateway.Config{Bridge: h})
	return h.Session
}

func (h *host) NewContainer(_ context.Context, spec gateway.ContainerSpec) (gateway.Container, error) {
	h.spec = spec
	return &box{host: h}, nil
}

// Close hides the session's.
func (h *host) Close(context.Context) error { return nil }

// box runs the host's function.
type box struct {
	gateway.Container
	host *host
}

func (b *box) Run(ctx context.Context, p gateway.Process, started chan<- struct{}) error {
	defer p.Stdin.Close()
	defer p.Stdout.Close()
	close(started)
	return b.host.program(ctx, p.Process)
}

func (b *box) Close(context.Context) error {
	b.host.closed++
	return nil
}

func solve(t *testing.T, h *host, req frontend.Request) (*frontend.Result, error) {
	t.Helper()
	f, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return f.Solve(t.Context(), h, req)
}

func opts(pairs ...string) frontend.Request {
	req := frontend.Request{Opts: map[string]string{"source": "some/frontend"}}
	for i := 0; i < len(pairs); i += 2 {
		req.Opts[pairs[i]] = pairs[i+1]
	}
	return req
}

func TestProgram(t *testing.T) {
	h := &host{config: ocispecs.Image{Config: ocispecs.ImageConfig{
		Entrypoint: []string{"/bin/f", "-x"}, Env: []string{"A=1"}, WorkingDir: "/w",
		Labels: map[string]string{labelNetwork: "true", labelCaps: "one,two+more"},
	}}}
	result := &frontend.Result{}
	h.program = func(_ context.Context, p executor.Process) error {
		if !slices.Equal(p.Args, []string{"/bin/f", "-x"}) || p.Cwd != "/w" || p.Env[0] != "A=1" {
			t.Errorf("%+v", p)
		}
		env := strings.Join(p.Env, "\n")
		for _, want := range []string{"BUILDKIT_FRONTEND_OPT_0=a=b=c\n", "BUILDKIT_SESSION_ID=s\n", `BUILDKIT_WORKERS=[{"id":"w","labels":null,"platforms":[{`, "=kiln"} {
			if !strings.Contains(env, want) {
				t.Errorf("no %q in\n%s", want, env)
			}
		}
		h.Finish(nil)
		return nil
	}
	_ = result
	if _, err := solve(t, h, opts("a", "b=c", "frontend.caps", "one,two+other")); err != nil {
		t.Fatal(err)
	}
	if h.spec.Network != pb.NetMode_NONE || h.spec.Mounts[0].GetDest() != "/" || h.closed != 1 ||
		h.spec.Files[0].Dest != "/run/config/buildkit/metadata/frontend.bin" || len(h.spec.Files[0].Data) == 0 {
		t.Errorf("%+v", h.spec)
	}
	if want := "docker-image://docker.io/some/frontend:latest"; h.asked[0] != want {
		t.Errorf("asked for %v", h.asked)
	}
}

// TestPrecedence: a returned error, then how the program ended, then a result.
func TestPrecedence(t *testing.T) {
	exit := &solver.ExitError{Code: 3, Err: errors.New("exit code: 3")}
	for name, test := range map[string]struct {
		returned bool
		err      error
		exit     error
		want     string
	}{
		"result":         {returned: true},
		"error":          {returned: true, err: errors.New("wrong"), exit: exit, want: "wrong"},
		"result, crash":  {returned: true, exit: exit, want: "exit code: 3: the frontend said: ouch"},
		"crash":          {exit: exit, want: "exit code: 3: the frontend said: ouch"},
		"nothing at all": {want: "no result for incomplete build"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &host{}
			h.program = func(_ context.Context, p executor.Process) error {
				_, _ = p.Stderr.Write([]byte("ouch\n"))
				if test.returned {
					h.Finish(test.err)
				}
				return test.exit
			}
			_, err := solve(t, h, opts())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for want, req := range map[string]frontend.Request{
		"no source":                {Opts: map[string]string{}},
		"no longer supported":      opts("gateway-devel", ""),
		"invalid reference format": opts("source", "UPPER CASE"),
		"moby.x":                   opts("frontend.caps", "moby.x"),
		capInputs:                  {Opts: opts().Opts, Inputs: map[string]*pb.Definition{"a": {}}},
		"cannot come from":         opts("context:some/frontend", "local:dir"),
		"invalid input":            opts("context:some/frontend", "input:none"),
		"a name and a digest":      opts("context:some/frontend", "oci-layout://store"),
	} {
		if _, err := solve(t, &host{}, req); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f, err := New([]string{"good/one", "example.com/two"})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]bool{"good/one:tag": true, "docker.io/good/one": true, "example.com/two@" + string(digest.FromString("")): true, "good/one/more": false, "evil.com/good/one": false} {
		if err := f.allow(source); (err == nil) != want {
			t.Errorf("%s: %v", source, err)
		}
	}
	if _, err := New([]string{"NOT VALID"}); err == nil {
		t.Error("no error")
	}
}

// TestContexts lets named contexts stand in for the source.
func TestContexts(t *testing.T) {
	dgst := string(digest.FromString("x"))
	def, err := compose.Marshal(compose.Files(compose.Scratch(), compose.Info{}, compose.Mkdir{Path: "/a"}), compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	meta, err := json.Marshal(map[string][]byte{frontend.MetaImageConfig: []byte(`{"config":{"Entrypoint":["/mine"],"Labels":{"` + labelCaps + `":"` + capInputs + `"}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		req  frontend.Request
		want string
	}{
		"image":    {opts("context:some/frontend", "docker-image://other/one:2"), "docker-image://docker.io/other/one:2"},
		"platform": {opts("context:some/frontend::linux/amd64", "docker-image://p/q", "context:some/frontend", "docker-image://other"), "docker-image://docker.io/p/q:latest"},
		"layout":   {opts("context:some/frontend", "oci-layout://store@"+dgst), "oci-layout://docker.io/some/frontend@" + dgst},
		"input":    {opts("context:some/frontend", "input:mine", "input-metadata:mine", string(meta)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &host{}
			h.program = func(_ context.Context, p executor.Process) error {
				if name == "input" && p.Args[0] != "/mine" {
					t.Errorf("program %v", p.Args)
				}
				h.Finish(nil)
				return nil
			}
			if name == "input" {
				test.req.Inputs = map[string]*pb.Definition{"mine": def}
			}
			if _, err := solve(t, h, test.req); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(h.asked, " "); got != test.want {
				t.Errorf("asked for %s, want %s", got, test.want)
			}
		})
	}
}

// TestTail keeps the end of a long log.
func TestTail(t *testing.T) {
	tl := &tail{logf: func(string, ...any) {}}
	for range 1000 {
		_, _ = tl.Write([]byte("a line of the log\n"))
	}
	_, _ = tl.Write([]byte("last\xff\n"))
	if s := tl.String(); len(s) > maxTail+8 || !strings.HasSuffix(s, "last�") {
		t.Errorf("%d bytes: …%q", len(s), s[max(0, len(s)-20):])
	}
}
