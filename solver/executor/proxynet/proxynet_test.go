package proxynet

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// direct gives the daemon's network to everybody and counts what is not given
// back.
type direct struct{ open int }

func (d *direct) Sandbox(context.Context, string) (executor.Network, error) {
	d.open++
	return lent{of: d}, nil
}

type lent struct {
	daemon
	of *direct
}

func (l lent) Release(context.Context, bool) error { l.of.open--; return nil }

// gateFunc is a Gate.
type gateFunc func(method, url string) (string, error)

func (f gateFunc) Admit(_ context.Context, method, url string) (string, error) { return f(method, url) }

// site is a server, over HTTP or HTTPS, that sessions trust.
func site(t *testing.T, secure bool) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s %s", r.Method, r.Header.Get("Accept-Encoding"))
	})
	mux.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "other") })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) })
	mux.HandleFunc("/again", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/hello", http.StatusFound) })
	mux.HandleFunc("/host", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "upgrade:"+r.Header.Get("Upgrade"))
	})
	if secure {
		s := httptest.NewTLSServer(mux)
		t.Cleanup(s.Close)
		return s
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

type fixture struct {
	*session
	client *http.Client
	nets   *direct
}

// begin opens a session, with a client in its namespace.
func begin(t *testing.T, gate executor.Gate) *fixture {
	t.Helper()
	f := &fixture{nets: &direct{}}
	p, err := New(filepath.Join(t.TempDir(), "proxy"), f.nets)
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.Open(t.Context(), executor.NetworkSandbox, gate)
	if err != nil {
		t.Fatal(err)
	}
	f.session = n.(*session)
	f.transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // of the test's own servers
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(n.CA()) {
		t.Fatal("no CA")
	}
	proxy, _ := url.Parse(strings.TrimPrefix(n.Env()[0], "HTTP_PROXY="))
	tr := &http.Transport{
		Proxy: http.ProxyURL(proxy), DialContext: (&netns.Dialer{Path: n.Path()}).DialContext,
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}
	f.client = &http.Client{Transport: tr, Timeout: 20 * time.Second}
	return f
}

func (f *fixture) finish(t *testing.T) solver.Traffic {
	t.Helper()
	f.client.CloseIdleConnections()
	path := f.Path()
	traffic, err := f.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) || f.nets.open != 0 {
		t.Errorf("left behind: %v, %d networks", err, f.nets.open)
	}
	return traffic
}

func (f *fixture) get(t *testing.T, address string) (int, string) {
	t.Helper()
	resp, err := f.client.Get(address)
	if err != nil {
		t.Fatalf("GET %s: %v", address, err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

func TestMaterials(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("https=%v", secure), func(t *testing.T) {
			srv, f := site(t, secure), begin(t, nil)
			if status, text := f.get(t, srv.URL+"/hello"); status != 200 || text != "hello GET " {
				t.Errorf("got %d %q", status, text)
			}
			f.get(t, srv.URL+"/moved")
			traffic := f.finish(t)
			want := digest.FromString("hello GET ")
			got := map[string]digest.Digest{}
			for _, m := range traffic.Materials {
				got[strings.TrimPrefix(m.URL, srv.URL)] = m.Digest
			}
			for _, path := range []string{"/hello", "/moved", "/again"} {
				if got[path] != want {
					t.Errorf("%s: %s, want %s", path, got[path], want)
				}
			}
			if len(traffic.Incomplete) != 0 {
				t.Errorf("incomplete: %v", traffic.Incomplete)
			}
			if q := traffic.Requests[1]; len(traffic.Requests) != 4 || q.Status != 302 || q.Location != srv.URL+"/again" {
				t.Errorf("requests: %+v", traffic.Requests)
			}
		})
	}
}

func TestIncomplete(t *testing.T) {
	srv := site(t, false)
	for _, tt := range []struct {
		name, method, path, ranged string
		status                     int
		reason                     string
	}{
		{name: "post", method: "POST", path: "/hello", status: 200, reason: solver.ReasonMethod},
		{name: "head", method: "HEAD", path: "/hello", status: 200, reason: solver.ReasonMethod},
		{name: "range", method: "GET", path: "/hello", ranged: "bytes=0-1", status: 200, reason: solver.ReasonPartial},
		{name: "missing", method: "GET", path: "/missing", status: 404, reason: solver.ReasonStatus},
		{name: "broken", method: "GET", path: "/broken", status: 200, reason: solver.ReasonUnread},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := begin(t, nil)
			req, _ := http.NewRequest(tt.method, srv.URL+tt.path, nil)
			if tt.ranged != "" {
				req.Header.Set("Range", tt.ranged)
			}
			resp, err := f.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			traffic := f.finish(t)
			want := solver.IncompleteMaterial{Method: tt.method, URL: srv.URL + tt.path, Reason: tt.reason}
			if resp.StatusCode != tt.status || len(traffic.Materials) != 0 || len(traffic.Incomplete) != 1 || traffic.Incomplete[0] != want {
				t.Errorf("status %d, %+v", resp.StatusCode, traffic)
			}
		})
	}
}

func TestUpstreamDown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + ln.Addr().String() + "/x"
	_ = ln.Close()
	f := begin(t, nil)
	if status, _ := f.get(t, address); status != http.StatusBadGateway {
		t.Errorf("status %d", status)
	}
	if status, _ := f.get(t, "https://nothing.invalid/x"); status != http.StatusBadGateway {
		t.Errorf("status %d", status)
	}
	traffic := f.finish(t)
	if len(traffic.Incomplete) != 2 || traffic.Incomplete[0].Reason != solver.ReasonUpstream || traffic.Requests[1].URL != "https://nothing.invalid/x" {
		t.Errorf("%+v", traffic)
	}
}

func TestNoOtherWay(t *testing.T) {
	srv, f := site(t, false), begin(t, nil)
	d := netns.Dialer{Path: f.Path()}
	for _, address := range []string{srv.Listener.Addr().String(), "192.0.2.9:80", "[2001:db8::1]:80"} {
		if c, err := d.DialContext(t.Context(), "tcp", address); err == nil {
			_ = c.Close()
			t.Errorf("reached %s without the proxy", address)
		}
	}
	if traffic := f.finish(t); len(traffic.Requests) != 0 {
		t.Errorf("%+v", traffic)
	}
}

func TestGate(t *testing.T) {
	for _, secure := range []bool{false, true} {
		srv := site(t, secure)
		f := begin(t, gateFunc(func(method, address string) (string, error) {
			switch {
			case strings.HasSuffix(address, "/host"):
				return "", errors.New("no")
			case strings.HasSuffix(address, "/hello"):
				return strings.Replace(address, "/hello", "/other", 1), nil
			}
			return address, nil
		}))
		if status, text := f.get(t, srv.URL+"/host"); status != http.StatusForbidden || text != "Forbidden\n" {
			t.Errorf("refused: %d %q", status, text)
		}
		if status, text := f.get(t, srv.URL+"/hello"); status != 200 || text != "other" {
			t.Errorf("converted: %d %q", status, text)
		}
		resp, err := f.client.Post(srv.URL+"/hello", "text/plain", strings.NewReader("x"))
		if err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("converted POST: %v, %v", resp, err)
		}
		traffic := f.finish(t)
		if len(traffic.Materials) != 1 || traffic.Materials[0].URL != srv.URL+"/other" || traffic.Requests[0].Status != http.StatusForbidden {
			t.Errorf("%+v", traffic)
		}
	}
}

// TestTunnelDecides has a request in a tunnel that names another host: the
// gate and the server get the tunnel's.
func TestTunnelDecides(t *testing.T) {
	srv := site(t, false)
	var asked []string
	f := begin(t, gateFunc(func(_, address string) (string, error) { asked = append(asked, address); return address, nil }))
	host := srv.Listener.Addr().String()
	conn, err := (&netns.Dialer{Path: f.Path()}).DialContext(t.Context(), "tcp", net.JoinHostPort(proxyHost, proxyPort))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	fmt.Fprintf(conn, "GET http://evil.example/host HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	if resp, err = http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = conn.Close()
	f.finish(t)
	if string(text) != host || len(asked) != 1 || asked[0] != srv.URL+"/host" {
		t.Errorf("got %q, asked %q", text, asked)
	}
}

func TestNoUpgrade(t *testing.T) {
	srv, f := site(t, false), begin(t, nil)
	req, _ := http.NewRequest("GET", srv.URL+"/upgrade", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if f.finish(t); string(text) != "upgrade:" {
		t.Errorf("got %q", text)
	}
}

// TestCloseWhileServing ends a session in the middle of an answer.
func TestCloseWhileServing(t *testing.T) {
	hold := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hold)
	f := begin(t, nil)
	resp, err := f.client.Get(slow.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(resp.Body, make([]byte, 5))
	_ = resp.Body.Close() // as when the process is killed
	traffic := f.finish(t)
	if len(traffic.Materials) != 0 || len(traffic.Incomplete) != 1 || traffic.Incomplete[0].Reason != solver.ReasonUnread {
		t.Errorf("%+v", traffic)
	}
}

func TestSweep(t *testing.T) {
	root := filepath.Join(t.TempDir(), "proxy")
	left := filepath.Join(root, "left")
	if err := netns.Create(left); err != nil {
		t.Fatal(err)
	}
	if _, err := New(root, &direct{}); err != nil {
		t.Fatal(err)
	}
	if netns.Mounted(left) {
		t.Error("still there")
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"http://Example.com:80/a?b=c#d":   "http://example.com/a?b=c",
		"https://example.com:443/":        "https://example.com/",
		"https://example.com:80/":         "https://example.com:80/",
		"https://user:secret@example.com": "https://xxxxx:xxxxx@example.com",
		"https://user@example.com":        "https://xxxxx@example.com",
		"https://:token@example.com":      "https://:xxxxx@example.com",
		"http://[2001:db8::1]:80/":        "http://[2001:db8::1]/",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := plain(u); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestRecordIsBounded(t *testing.T) {
	var r record
	long := strings.Repeat("x", 1<<20)
	for range 100 {
		r.request(solver.Request{Method: "GET", URL: long})
	}
	out := r.result()
	if len(out.Requests) > maxRecordSize>>20 || len(out.Incomplete) != 1 || out.Incomplete[0].Reason != solver.ReasonTooMany {
		t.Errorf("%d requests, %v", len(out.Requests), out.Incomplete)
	}
}
