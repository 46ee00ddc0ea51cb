package diagnose

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/cachetest"
	"github.com/kilnbuild/kiln/solver/pb/diagnose"
)

// settings stand for a daemon's.
type settings struct {
	Root     string
	Registry map[string]map[string]any
	Sign     []string
}

func newDiagnoser(t *testing.T) *Diagnoser {
	t.Helper()
	metrics := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "test_total"})
	metrics.MustRegister(counter)
	return New(Config{
		Version: "kilnd example v1 abc", Root: t.TempDir(), Metrics: metrics, Now: time.Now,
		Settings: settings{
			Root:     "/state",
			Registry: map[string]map[string]any{"example.com": {"mirrors": []string{"https://me:hunter2@mirror"}, "authToken": "hunter2", "key": "/etc/key.pem"}},
			Sign:     []string{"sign", "--api-token", "hunter2", "--password=hunter2", "--token-file=/run/token"},
		},
		Environ: func() []string {
			return []string{"HTTPS_PROXY=http://u:hunter2@proxy:1", "AWS_SECRET_ACCESS_KEY=hunter2", "PATH=/bin", "DATABASE_URL=hunter2", "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer hunter2hunter2"}
		},
	})
}

// openCache returns a cache in which a key stands on two others.
func openCache(t *testing.T) (c *cache.Bolt, top digest.Digest) {
	t.Helper()
	results := &cachetest.Results{}
	c, err := cache.OpenBolt(filepath.Join(t.TempDir(), "keys.db"), results, cache.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	leaf := func(s string) *solver.Key { return solver.NewKey(digest.FromString(s), 0, false, nil) }
	key := solver.NewKey(digest.FromString("top"), 1, false, []solver.KeyInput{{Key: leaf("a")}, {Key: leaf("b"), Selector: digest.FromString("/x")}})
	if _, err := c.Save(t.Context(), []*solver.Key{key}, results.New("result-1")); err != nil {
		t.Fatal(err)
	}
	return c, key.ID()
}

// ask sends a request to the handler.
func ask(t *testing.T, h http.Handler, method, path, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Accept", "application/json")
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestCacheOverHTTP looks at a cache through every path.
func TestCacheOverHTTP(t *testing.T) {
	d := newDiagnoser(t)
	h := d.Handler()
	if code, text := ask(t, h, "GET", "/debug/cache/all", ""); code != http.StatusServiceUnavailable {
		t.Errorf("without a cache: %d %s", code, text)
	}
	c, top := openCache(t)
	d.SetCache(c)

	var keys []keyInfo
	_, text := ask(t, h, "GET", "/debug/cache/all", "")
	if err := json.Unmarshal([]byte(text), &keys); err != nil || len(keys) != 3 {
		t.Errorf("%v: %s", err, text)
	}
	_, text = ask(t, h, "GET", "/debug/cache/lookup?digest="+top.String(), "")
	keys = nil
	if err := json.Unmarshal([]byte(text), &keys); err != nil || len(keys) != 3 || keys[0].Digest != top || *keys[0].Result != "result-1" {
		t.Errorf("%v: %s", err, text)
	}
	var records []*record
	_, text = ask(t, h, "GET", "/debug/cache/store", "")
	if err := json.Unmarshal([]byte(text), &records); err != nil || len(records) != 3 {
		t.Fatalf("%v: %s", err, text)
	}
	linked := 0
	for _, r := range records {
		linked += len(r.Children)
		for _, p := range r.Parents {
			if _, ok := records[p.Target-1].Children[p.Input][r.ID]; !ok {
				t.Errorf("%+v does not know its child %d", records[p.Target-1], r.ID)
			}
		}
	}
	if linked != 2 {
		t.Errorf("%d links in %s", linked, text)
	}

	exported := `{"records":[{"digest":"` + digest.FromString("a").String() + `"},{"digest":"` + digest.FromString("b").String() + `","inputs":[[{"link":0}]]}]}`
	records = nil
	_, text = ask(t, h, "POST", "/debug/cache/load", exported)
	if err := json.Unmarshal([]byte(text), &records); err != nil || len(records) != 2 || records[1].Parents[0].Target != 1 {
		t.Errorf("%v: %s", err, text)
	}
	for path, want := range map[string]int{
		"/debug/cache/lookup?digest=x": http.StatusBadRequest, "/debug/cache/lookup?digest=" + digest.FromString("no").String(): http.StatusNotFound,
		"/debug/cache/load": http.StatusMethodNotAllowed, "/metrics": http.StatusOK, "/debug/vars": http.StatusOK,
	} {
		if code, text := ask(t, h, "GET", path, ""); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, text, want)
		}
	}
	if code, _ := ask(t, h, "POST", "/debug/cache/load", `{"records":[{"digest":"x"}]}`); code != http.StatusBadRequest {
		t.Errorf("a wrong config gives %d", code)
	}
}

// TestFlightRecorder: its states follow each other, and what it records can be read.
func TestFlightRecorder(t *testing.T) {
	h := newDiagnoser(t).Handler()
	for i, step := range []struct {
		method, path string
		want         int
	}{
		{"GET", "", http.StatusConflict},
		{"POST", "/stop", http.StatusConflict},
		{"POST", "/set_period?period=never", http.StatusBadRequest},
		{"POST", "/set_period?period=1h", http.StatusBadRequest},
		{"POST", "/set_period?period=2s", http.StatusOK},
		{"POST", "/start", http.StatusOK},
		{"POST", "/start", http.StatusConflict},
		{"POST", "/set_period?period=2s", http.StatusPreconditionFailed},
		{"GET", "", http.StatusOK},
		{"POST", "/stop", http.StatusOK},
	} {
		code, text := ask(t, h, step.method, "/debug/flight/trace"+step.path, "")
		if code != step.want {
			t.Errorf("step %d: %s %s: %d, want %d", i, step.method, step.path, code, step.want)
		}
		if step.method == "GET" && code == http.StatusOK && !strings.Contains(text[:min(32, len(text))], "trace") {
			t.Errorf("no trace: %.40q", text)
		}
	}
}

// TestReport collects a report over gRPC and looks for what must and must not
// be in it.
func TestReport(t *testing.T) {
	d := newDiagnoser(t)
	c, _ := openCache(t)
	d.SetCache(c)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	d.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix://"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := diagnose.NewDiagnoseClient(conn).Collect(t.Context(), &diagnose.CollectRequest{})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files[chunk.GetName()] += string(chunk.GetData())
	}
	for name, want := range map[string]string{
		"daemon.json": "kilnd example v1 abc", "settings.json": "/etc/key.pem", "environment.txt": `PATH="/bin"`,
		"cache.json": `"Pending": 1`, "metrics.txt": "test_total 0", "goroutines.txt": "goroutine ", "host.txt": "MemTotal",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has no %q:\n%.600s", name, want, files[name])
		}
	}
	for name, text := range files {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s has a secret:\n%s", name, text)
		}
	}
	for _, want := range []string{"--token-file=/run/token", "https://(redacted)@mirror", "/state"} {
		if !strings.Contains(files["settings.json"], want) {
			t.Errorf("settings.json has no %q:\n%s", want, files["settings.json"])
		}
	}
	if strings.Contains(files["environment.txt"], "DATABASE_URL") {
		t.Error("a variable that is not the daemon's is in the report")
	}
}

// TestPartIsBounded: a part that never ends is cut off, and says so.
func TestPartIsBounded(t *testing.T) {
	p := part{"endless", func(_ context.Context, w io.Writer) error {
		for range 3 * maxPart / 4096 {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return err
			}
		}
		return nil
	}}
	if text := p.render(t.Context()); len(text) > maxPart+64 || !strings.HasSuffix(string(text), "(cut off here)\n") {
		t.Errorf("%d bytes", len(text))
	}
}
