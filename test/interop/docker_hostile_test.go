package interop_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// hostileDockerfile is what the requests for builds bring: it costs nothing.
const hostileDockerfile = "FROM scratch\nLABEL a=b\n"

// ask sends a request and returns status, content type and answer.
func (e *engine) ask(method, path string, body io.Reader, kind string) (int, string, string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, "http://docker"+path, body)
	if err != nil {
		e.t.Fatal(err)
	}
	// No connection is to outlive its request, so that what does is a leak.
	req.Close = true
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := e.plain().Do(req)
	if err != nil {
		e.t.Fatalf("%s %.100s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s %.100s: %v", method, path, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(data)
}

// TestDockerParameters asks for what cannot be: each request is told what is
// wrong with it, and the daemon is afterwards what it was.
func TestDockerParameters(t *testing.T) {
	e := newEngine(t)
	before := daemon.Look(t, e.Daemon)
	before.Goroutines += 6
	dir := folder(t, "Dockerfile", hostileDockerfile)
	long, many := strings.Repeat("x", 100<<10), ""
	for i := range 1001 {
		many += fmt.Sprintf("&t=a%d", i)
	}
	q := url.QueryEscape
	for _, tc := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/v9.99/version", 400, "client version 9.99 is too new. Maximum supported API version is 1."},
		{"GET", "/v0.1/version", 400, "client version 0.1 is too old. Minimum supported API version is 1.24"},
		{"GET", "/vfoo/version", 404, "page not found"},
		{"GET", "/v1.-40/version", 404, "page not found"},
		{"GET", "/v1.40/", 404, "page not found"},
		{"GET", "//images/json", 404, "page not found"},
		{"GET", "/build", 405, "method GET is not allowed here"},
		{"PUT", "/images/create", 405, "method PUT is not allowed here"},
		{"PATCH", "/_ping", 405, "method PATCH is not allowed here"},
		{"ODD", "/images/x/tag", 405, "method ODD is not allowed here"},
		{"GET", "/images/json?a=%zz", 400, "invalid query"},
		{"GET", "/images/json?filters=1", 400, "invalid filter"},
		{"GET", "/images/json?filters=" + q(`{"dangling":["maybe"]}`), 400, "invalid filter 'dangling=[maybe]'"},
		{"GET", "/images/json?filters=" + q(`{"label":[`+strings.Repeat(`"a",`, 1000)+`"a"]}`), 400, "more than 1000 filters"},
		{"GET", "/images/%2e%2e/json", 400, "invalid reference format"},
		{"GET", "/images/a%00b/json", 400, "invalid reference format"},
		{"GET", "/images/" + long + "/json", 400, "more than 255 characters"},
		{"GET", "/images/x/history?platform=1", 400, "failed to parse platform"},
		{"GET", "/images/get?names=a" + strings.Repeat("&names=a", 1000), 400, "more than 1000 images"},
		{"GET", "/events?since=x", 400, "want seconds since 1970, a date or a duration"},
		{"GET", "/events?since=9999999999&until=1", 400, "cannot be after"},
		{"GET", "/system/df?type=bogus", 400, "unknown object type: bogus"},
		{"GET", "/distribution/UP/json", 400, "invalid reference format"},
		{"DELETE", "/images/sha256:zz", 404, "No such image: sha256:zz"},
		{"POST", "/images/x/tag", 400, "invalid reference format"},
		{"POST", "/images/x/push?tag=a%20b", 400, "invalid tag format"},
		{"POST", "/images/create", 400, "neither fromImage nor fromSrc is given"},
		{"POST", "/images/create?fromImage=scratch", 403, "'scratch' is a reserved name"},
		{"POST", "/images/create?fromSrc=" + q("file:///etc/passwd"), 400, "want http or https"},
		{"POST", "/images/create?fromSrc=-&changes=" + q("RUN x"), 400, "RUN is not a valid change command"},
		{"POST", "/images/prune?filters=" + q(`{"nope":["1"]}`), 400, "invalid filter 'nope'"},
		{"POST", "/build?memory=1&memory=lots", 200, "Successfully built"},
		{"POST", "/build?memory=lots&memory=1", 400, "want a number"},
		{"POST", "/build?memory=99999999999999999999", 400, "want a number"},
		{"POST", "/build?cpushares=-5", 400, "want a positive number"},
		{"POST", "/build?ulimits=" + q("{}"), 400, "invalid ulimits: want JSON"},
		{"POST", "/build?labels=" + q(`{"a":1}`), 400, "invalid labels: want JSON"},
		{"POST", "/build?buildargs=" + q(`[1]`), 400, "invalid buildargs: want JSON"},
		{"POST", "/build?cachefrom=" + q(`{}`), 400, "invalid cachefrom: want JSON"},
		{"POST", "/build?t=a" + many, 400, "more than 1000 tags"},
		{"POST", "/build?platform=a%20b", 400, "invalid platform"},
		{"POST", "/build?dockerfile=../../etc/passwd", 400, "Cannot locate specified Dockerfile"},
		{"POST", "/build?remote=" + q("file:///etc/passwd"), 400, "could not be recognized as URL"},
		{"POST", "/build?version=2&outputs=" + q(`[{"Type":"local"},{"Type":"tar"}]`), 400, "multiple outputs not supported"},
		{"POST", "/build?buildid=upload-request:x", 404, "nobody wants the context of build x"},
		{"POST", "/build/cancel", 400, "build ID not provided"},
		{"POST", "/build/prune?keep-storage=x", 400, "want a number"},
		{"POST", "/session", 400, "no upgrade proto in request"},
		{"POST", "/grpc", 500, "no upgrade proto in request"},
	} {
		var body io.Reader
		if strings.HasPrefix(tc.path, "/build?") {
			body = packed(t, dir)
		}
		status, kind, answer := e.ask(tc.method, tc.path, body, "")
		if status != tc.status || !strings.Contains(answer, tc.want) || kind != "application/json" {
			t.Errorf("%s %.100s: %d (%s) %.300s", tc.method, tc.path, status, kind, answer)
		}
	}
	for kind, want := range map[string]int{"application/json": 500, "text/plain": 400, ";;;": 400} {
		if status, _, answer := e.ask(http.MethodPost, "/auth", strings.NewReader(`{"serveraddress":"127.0.0.1:1"}`), kind); status != want {
			t.Errorf("sign in with %q: %d %s", kind, status, answer)
		}
		// Whatever an archive is called, it is one.
		if status, _, answer := e.ask(http.MethodPost, "/build?q=1", packed(t, dir), kind); status != http.StatusOK {
			t.Errorf("a build of %q: %d %s", kind, status, answer)
		}
	}
	if status, _, answer := e.ask(http.MethodPost, "/auth", strings.NewReader(`{"username":"`+strings.Repeat("u", 5<<20)+`"}`), "application/json"); status != 400 {
		t.Errorf("a large body: %d %s", status, answer)
	}
	now := daemon.Look(t, e.Daemon)
	before.Leases, before.Files = now.Leases, now.Files+16
	daemon.Settle(t, e.Daemon, before)
}

// endless is a body without end; after is called for each piece that is taken.
type endless struct {
	first io.Reader
	after func()
}

// Read never ends.
func (r *endless) Read(p []byte) (int, error) {
	if n, err := r.first.Read(p); err == nil {
		return n, nil
	}
	r.after()
	clear(p)
	return len(p), nil
}

// TestDockerBodies sends bodies that grow, or do not end: neither stays in the
// memory of the daemon.
func TestDockerBodies(t *testing.T) {
	e := newEngine(t)
	before := daemon.Look(t, e.Daemon)
	before.Goroutines += 6
	heap, err := e.Heap()
	if err != nil {
		t.Fatal(err)
	}
	var grows bytes.Buffer
	z := gzip.NewWriter(&grows)
	head := packed(t, folder(t, "Dockerfile", hostileDockerfile, "zeros", strings.Repeat("\x00", 64<<20)))
	if _, err := head.WriteTo(z); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/build":                   "Successfully built",
		"/images/load":             "unrecognized image format",
		"/images/create?fromSrc=-": "sha256:",
	} {
		if status, _, answer := e.ask(http.MethodPost, path, bytes.NewReader(grows.Bytes()), ""); status != http.StatusOK || !strings.Contains(answer, want) {
			t.Errorf("what grows a thousandfold, to %s: %d %.300s", path, status, answer)
		}
		// A client that sends and sends, until it is told to stop or goes.
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		body := &endless{first: strings.NewReader("x"), after: func() {
			if sent++; sent > 2000 {
				cancel()
			}
		}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		if resp, err := e.plain().Do(req); err == nil {
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && !strings.Contains(string(answer), "tar header") {
				t.Errorf("endless %s: %d %.200s", path, resp.StatusCode, answer)
			}
		} else if ctx.Err() == nil {
			t.Errorf("endless %s: %v", path, err)
		}
		cancel()
	}
	now := daemon.Look(t, e.Daemon)
	before.Leases, before.Files = now.Leases, now.Files+16
	daemon.Settle(t, e.Daemon, before)
	after, err := e.Heap()
	if err != nil {
		t.Fatal(err)
	}
	if after > heap+64<<20 {
		t.Errorf("the daemon held %d bytes before, and %d after", heap, after)
	}
}
