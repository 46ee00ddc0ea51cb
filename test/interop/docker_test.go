package interop_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"

	"github.com/kilnbuild/kiln/test/daemon"
)

// engine is a daemon with the Docker API, and how docker's own clients reach
// it.
type engine struct {
	*daemon.Daemon
	t      *testing.T
	socket string
	env    []string
}

// newEngine starts one. The docker command is given the real buildx as its
// plugin.
func newEngine(t *testing.T, args ...string) *engine {
	t.Helper()
	dir := t.TempDir()
	e := &engine{t: t, socket: filepath.Join(dir, "docker.sock")}
	e.Daemon = fresh(t, daemon.Config{Args: append([]string{"--docker-addr", "unix://" + e.socket}, args...)})
	plugins := filepath.Join(dir, "config", "cli-plugins")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(foreign(t, "buildx"), filepath.Join(plugins, "docker-buildx")); err != nil {
		t.Fatal(err)
	}
	e.env = []string{"DOCKER_HOST=unix://" + e.socket, "DOCKER_CONFIG=" + filepath.Join(dir, "config"), "BUILDX_BUILDER=", "BUILDX_BAKE_ENTITLEMENTS_FS=0"}
	return e
}

// docker runs the docker command; classic makes it use its old builder.
func (e *engine) docker(classic bool, args ...string) outcome {
	e.t.Helper()
	env := e.env
	if classic {
		env = append(env[:len(env):len(env)], "DOCKER_BUILDKIT=0")
	}
	return run(e.t, "", env, dockerCommand(e.t), args...)
}

// dockerCommand is the path of the docker command.
func dockerCommand(t *testing.T) string {
	t.Helper()
	return foreign(t, "docker")
}

// plain is a client that knows nothing but HTTP.
func (e *engine) plain() *http.Client {
	c := &http.Client{Timeout: clientWithin, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.socket)
		},
	}}
	e.t.Cleanup(c.CloseIdleConnections)
	return c
}

// post posts a body and returns status and answer.
func (e *engine) post(path string, body io.Reader) (int, string) {
	e.t.Helper()
	resp, err := e.plain().Post("http://docker"+path, "application/x-www-form-urlencoded", body)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// sdk is the client library.
func (e *engine) sdk() *client.Client {
	e.t.Helper()
	c, err := client.NewClientWithOpts(client.WithHost("unix://"+e.socket), client.WithAPIVersionNegotiation())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	return c
}

// packed is a folder as a tar.
func packed(t *testing.T, dir string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// said is what a stream of messages says.
type said struct {
	text, id, failure string
	code              int
}

func readStream(t *testing.T, from io.Reader) (out said) {
	t.Helper()
	for d := json.NewDecoder(from); ; {
		var m struct {
			Stream      string
			ErrorDetail *struct {
				Code    int
				Message string
			}
			Aux json.RawMessage
		}
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out.text += m.Stream
		if m.ErrorDetail != nil {
			out.failure, out.code = m.ErrorDetail.Message, m.ErrorDetail.Code
		}
		var image struct{ ID string }
		if json.Unmarshal(m.Aux, &image) == nil && image.ID != "" {
			out.id = image.ID
		}
	}
}

// dockerContext is a context with all that the classic builder never knew.
func dockerContext(t *testing.T) string {
	t.Helper()
	return folder(t,
		"Dockerfile", "FROM "+base(t, "busybox")+" AS one\nARG WHO\nRUN --mount=type=cache,target=/c echo hello $WHO && echo oh >&2\nFROM one\nENV A=b\n"+
			"COPY . /all\nRUN <<EOF\ntest ! -e /all/left-out\necho from a document\nEOF\nCMD [\"true\"]\n",
		".dockerignore", "left-out\n", "left-out", "x", "kept", "y")
}

// TestDockerClients builds one image with every client that there is; it has to
// be the same one.
func TestDockerClients(t *testing.T) {
	e := newEngine(t)
	dir := dockerContext(t)
	classic := e.docker(true, "build", "--build-arg=WHO=me", "--build-arg=NOBODY=1", "-t", "one:classic", dir).ok(t).stdout
	for _, want := range []string{
		"Step 1/8 : FROM ", "Step 3/8 : RUN --mount", " ---> Running in ", "hello me\n", "\x1b[91moh\n\x1b[0m", "from a document\n",
		" ---> Removed intermediate container ", "Step 8/8 : CMD", "[Warning] One or more build-args [NOBODY] were not consumed\n",
		"Successfully built ", "Successfully tagged one:classic\n",
	} {
		if !strings.Contains(classic, want) {
			t.Errorf("the classic build does not say %q:\n%s", want, classic)
		}
	}
	again := e.docker(true, "build", "--build-arg=WHO=me", "-t", "one:classic", dir).ok(t).stdout
	if n := strings.Count(again, " ---> Using cache\n"); n != 6 {
		t.Errorf("the second build took %d steps from the cache:\n%s", n, again)
	}
	id := strings.TrimSpace(e.docker(true, "build", "-q", "--build-arg=WHO=me", dir).ok(t).stdout)

	status, answer := e.post("/build?t=one:curl&buildargs=%7B%22WHO%22%3A%22me%22%7D", packed(t, dir))
	if got := readStream(t, strings.NewReader(answer)); status != 200 || got.id != id || !strings.Contains(got.text, "Step 1/8 : FROM ") {
		t.Errorf("a plain post: %d, %+v", status, got)
	}
	me := "me"
	resp, err := e.sdk().ImageBuild(t.Context(), packed(t, dir), build.ImageBuildOptions{
		Tags: []string{"one:sdk"}, BuildArgs: map[string]*string{"WHO": &me, "NONE": nil}, Remove: true,
		AuthConfigs: map[string]registry.AuthConfig{"r.test": {Username: "u", Password: "p"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := readStream(t, resp.Body); got.id != id || got.failure != "" {
		t.Errorf("the SDK: %+v", got)
	}
	iid := filepath.Join(t.TempDir(), "iid")
	e.docker(false, "build", "--provenance=false", "--build-arg=WHO=me", "-t", "one:buildx", "--iidfile="+iid, dir).ok(t)
	if got := read(t, iid); got != id {
		t.Errorf("buildx made %s, the others %s", got, id)
	}
	for _, name := range []string{"one:classic", "one:curl", "one:sdk", "one:buildx"} {
		if list := ctr(t, e.Daemon, "images", "ls", "name==docker.io/library/"+name).ok(t).stdout; !strings.Contains(list, id) {
			t.Errorf("%s is not %s:\n%s", name, id, list)
		}
	}
	bake := filepath.Join(t.TempDir(), "bake.json")
	if err := os.WriteFile(bake, []byte(`{"target":{"default":{"context":"`+dir+`","args":{"WHO":"me"},"tags":["one:bake"],"attest":["type=provenance,disabled=true"]}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	e.docker(false, "buildx", "bake", "-f", bake).ok(t)
	if list := ctr(t, e.Daemon, "images", "ls", "name==docker.io/library/one:bake").ok(t).stdout; !strings.Contains(list, id) {
		t.Errorf("bake made another image:\n%s", list)
	}
}

// TestDockerFailures fails builds as engines do.
func TestDockerFailures(t *testing.T) {
	e := newEngine(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo before; exit 37\nRUN echo never\n")
	out := e.docker(true, "build", dir)
	out.failed(t, "The command '/bin/sh -c echo before; exit 37' returned a non-zero code: 37")
	var exit *exec.ExitError
	if !errors.As(out.err, &exit) || exit.ExitCode() != 37 {
		t.Errorf("docker ended with %v", out.err)
	}
	if !strings.Contains(out.stdout, "before\n") || strings.Contains(out.stdout, "never") {
		t.Errorf("docker said %s", out.stdout)
	}
	quiet := e.docker(true, "build", "-q", dir)
	quiet.failed(t, "returned a non-zero code: 37", "before\n")
	if status, answer := e.post("/build", packed(t, folder(t, "Dockerfile", "FROM scratch\nNONSENSE\n"))); status != http.StatusBadRequest || !strings.Contains(answer, "unknown instruction: NONSENSE") {
		t.Errorf("an unknown instruction: %d %s", status, answer)
	}
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"?securityopt=x":                   {400, "does not support setting security options"},
		"?t=UPPER":                         {400, "invalid reference format"},
		"?memory=lots":                     {400, "invalid memory"},
		"?buildargs=[":                     {400, "invalid buildargs"},
		"?networkmode=container:x":         {400, "is not supported by this builder"},
		"?extrahosts=x":                    {400, "bad format for add-host"},
		"?version=3":                       {400, "invalid version"},
		"?dockerfile=none":                 {400, "Cannot locate specified Dockerfile: none"},
		"?version=2&remote=client-session": {400, "needs a session"},
		"?target=none":                     {400, "target stage \"none\" could not be found"},
		"?version=2&target=none":           {500, "target stage \"none\" could not be found"},
	} {
		status, answer := e.post("/build"+query, packed(t, dir))
		var refused struct{ Message string }
		if status == http.StatusOK {
			refused.Message, status = readStream(t, strings.NewReader(answer)).failure, 500
		} else if err := json.Unmarshal([]byte(answer), &refused); err != nil {
			t.Errorf("%s: %v in %s", query, err, answer)
		}
		if status != want.status || !strings.Contains(refused.Message, want.text) {
			t.Errorf("%s: %d %q", query, status, refused.Message)
		}
	}
}

// TestDockerCancel lets clients go away, and builds be cancelled by name.
func TestDockerCancel(t *testing.T) {
	e := newEngine(t)
	before := daemon.Look(t, e.Daemon)
	before.Goroutines += 6
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo begun; sleep 1000\n")
	begun := func(ctx context.Context, query string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/build"+query, packed(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := e.plain().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(resp.Body); ; {
			var m struct{ Stream string }
			if err := d.Decode(&m); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(m.Stream, "begun") && !strings.Contains(m.Stream, "Step") {
				return resp
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	resp := begun(ctx, "")
	cancel()
	resp.Body.Close()
	resp = begun(t.Context(), "?buildid=known")
	if status, _ := e.post("/build/cancel?id=known", nil); status != http.StatusNoContent {
		t.Errorf("cancel: %d", status)
	}
	if got := readStream(t, resp.Body); !strings.Contains(got.text+got.failure, "Build cancelled") {
		t.Errorf("a cancelled build says %+v", got)
	}
	resp.Body.Close()
	if status, _ := e.post("/build/cancel?id=unknown", nil); status != http.StatusNoContent {
		t.Errorf("cancel what is not there: %d", status)
	}
	now := daemon.Look(t, e.Daemon)
	before.Leases, before.Files = now.Leases, now.Files+16
	daemon.Settle(t, e.Daemon, before)
	if left, err := os.ReadDir(filepath.Join(e.Root, "dockerapi")); err != nil || len(left) > 0 {
		t.Errorf("left of contexts: %v, %v", left, err)
	}
}

// TestDockerRemote builds contexts that the daemon fetches itself.
func TestDockerRemote(t *testing.T) {
	e := newEngine(t)
	dockerfile := "FROM " + base(t, "busybox") + "\nRUN echo far away\n"
	dir := folder(t, "Dockerfile", dockerfile)
	mux := http.NewServeMux()
	mux.HandleFunc("/context.tar", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed(t, dir).Bytes()) })
	mux.HandleFunc("/Dockerfile", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, dockerfile) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for _, file := range []string{"context.tar", "Dockerfile"} {
		out := e.docker(true, "build", "--no-cache", "http://"+l.Addr().String()+"/"+file).ok(t).stdout
		if !strings.Contains(out, "Step 2/2 : RUN echo far away\n") || !strings.Contains(out, "\nfar away\n") || !strings.Contains(out, "Successfully built") {
			t.Errorf("%s: %s", file, out)
		}
	}
}

// TestDockerOldBuildKit posts version 2 as clients did before there was buildx:
// one request builds, another brings the context.
func TestDockerOldBuildKit(t *testing.T) {
	e := newEngine(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo traced\n")
	brought := make(chan int, 1)
	go func() {
		status, _ := e.post("/build?version=2&buildid=upload-request:b1", packed(t, dir))
		brought <- status
	}()
	status, answer := e.post("/build?version=2&buildid=b1&remote=upload-request&t=two:old", nil)
	if got := readStream(t, strings.NewReader(answer)); status != 200 || !strings.HasPrefix(got.id, "sha256:") || !strings.Contains(answer, `"id":"moby.buildkit.trace"`) {
		t.Errorf("%d: %s", status, answer)
	}
	if status := <-brought; status != http.StatusOK {
		t.Errorf("the context was answered with %d", status)
	}
	if status, answer := e.post("/build?version=2&buildid=b2&remote=upload-request", nil); status != http.StatusNotFound {
		t.Errorf("without a context: %d %s", status, answer)
	}
}

// TestDockerPrune empties the cache and keeps the images.
func TestDockerPrune(t *testing.T) {
	e := newEngine(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo a > /a\n")
	e.docker(true, "build", "-t", "kept:1", dir).ok(t)
	if status, answer := e.post("/build/prune?all=1", nil); status != http.StatusOK || !strings.Contains(answer, "CachesDeleted") {
		t.Errorf("prune: %d %s", status, answer)
	}
	e.docker(false, "builder", "prune", "-af").ok(t)
	if list := ctr(t, e.Daemon, "images", "ls").ok(t).stdout; !strings.Contains(list, "kept:1") {
		t.Errorf("prune took the image:\n%s", list)
	}
	if status, answer := e.post("/build/prune?filters=%7B%22nonsense%22%3A%5B%221%22%5D%7D", nil); status != http.StatusBadRequest {
		t.Errorf("a filter that is not known: %d %s", status, answer)
	}
}
